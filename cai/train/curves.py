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


def draw_curves(rows: Sequence[dict[str, float]], file: Path, title: str) -> bool:
    """One panel per measure that occurs in `rows`; False where there is nothing to draw."""
    import altair as alt

    charts: list[Any] = []
    for name, columns in PANELS:
        points = [{"step": r["step"], "value": r[c], "what": _label(c)} for c in columns for r in rows if c in r]
        if not points:
            continue
        base = alt.Chart(alt.Data(values=points)).encode(
            x=alt.X("step:Q", title="step"),
            y=alt.Y("value:Q", title=name, scale=alt.Scale(zero=False)),
            color=alt.Color("what:N", title=None),
        )
        charts.append((base.mark_line() + base.mark_point(size=12)).properties(width=280, height=160))
    if not charts:
        return False
    alt.concat(*charts, columns=2).resolve_scale(color="independent").properties(title=title).save(str(file))
    return True


def _label(column: str) -> str:
    return f"{column.removeprefix('eval_')} (held out)" if column.startswith("eval_") else column
