"""Learning curves as one SVG, drawn without a browser or a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

PANELS = (
    ("loss", ("loss", "eval_loss")),
    ("accuracy", ("accuracy", "eval_accuracy")),
    ("margin", ("margin", "eval_margin")),
    ("log-ratio", ("chosen", "rejected")),
    ("reward", ("reward", "eval_reward")),
    ("gradient norm", ("grad_norm",)),
    ("learning rate", ("learning_rate",)),
)
CURVES = "curves.svg"
SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
"""Names the grammar; nothing is fetched from it."""


def draw_curves(rows: Sequence[dict[str, float]], file: Path, title: str) -> None:
    """One panel per measure that occurs in `rows`, training and held-out values in one panel."""
    import vl_convert

    panels = [panel for name, columns in PANELS if (panel := _panel(rows, name, columns))]
    spec = {
        "$schema": SCHEMA,
        "title": title,
        "columns": 2,
        "concat": panels,
        "resolve": {"scale": {"color": "independent"}},
    }
    file.write_text(vl_convert.vegalite_to_svg(spec), "utf-8")


def _panel(rows: Sequence[dict[str, float]], name: str, columns: Sequence[str]) -> dict[str, Any] | None:
    points = [{"step": r["step"], "value": r[c], "what": _label(c)} for c in columns for r in rows if c in r]
    if not points:
        return None
    encoding = {
        "x": {"field": "step", "type": "quantitative", "title": "step"},
        "y": {"field": "value", "type": "quantitative", "title": name, "scale": {"zero": False}},
        "color": {"field": "what", "type": "nominal", "title": None},
    }
    mark = {"type": "line", "point": {"size": 12}}
    return {"width": 280, "height": 160, "data": {"values": points}, "mark": mark, "encoding": encoding}


def _label(column: str) -> str:
    return f"{column.removeprefix('eval_')} (held out)" if column.startswith("eval_") else column
