"""What a finished run leaves: a model that `transformers`, vLLM and the next stage load, curves, and a card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cai.config.rl import RLSettings
from cai.store.files import write_text
from cai.train.progress import read_metrics
from cai.train.rl.journal import Journal
from cai.train.rl.policy import policy_weights
from cai.train.rl.update import Learner

MODEL, CURVES, FRONTIER = "model", "curves.svg", "reward-kl.svg"
SHOWN = (
    "reward",
    "kl",
    "entropy",
    "length",
    "distinct_2",
    "repetition",
    "clip_share",
    "explained_variance",
    "refusals",
    "boilerplate",
    "parity_max",
)


def finish(folder: Path, learner: Learner, tokenizer: Any, settings: RLSettings, facts: dict[str, Any]) -> Path:
    """Write the model with adapters merged, the curves and the card; returns the model's folder."""
    policy = learner.accelerator.unwrap_model(learner.policy)
    model = policy.model
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    target = folder / MODEL
    base.save_pretrained(target, state_dict=dict(policy_weights(policy)), safe_serialization=True)
    tokenizer.save_pretrained(target)
    rows, seen = read_metrics(folder), Journal(folder, writes=False).evaluations()
    draw(rows, seen, folder)
    write_text(target / "README.md", card(facts, settings, rows, seen))
    return target


def draw(rows: Sequence[dict[str, Any]], seen: Sequence[dict[str, Any]], folder: Path) -> None:
    """Every measure over the steps; the reward over the KL; the gap between reward and held-out judge."""
    import altair as alt

    panels: list[Any] = []
    for name in SHOWN:
        points = [{"step": row["step"], "value": row[name]} for row in rows if row.get(name) is not None]
        if points:
            panels.append(_line(alt, points, "step", "value", name))
    if panels:
        alt.concat(*panels, columns=3).save(str(folder / CURVES))
    frontier = [{"kl": row["kl"], "reward": row["reward"]} for row in rows if row.get("reward") is not None]
    gap = [{"step": e["step"], "value": value, "what": what} for e in seen for what, value in _means(e).items()]
    charts = [_line(alt, frontier, "kl", "reward", "reward against KL", points_only=True)] if frontier else []
    if gap:
        charts.append(_line(alt, gap, "step", "value", "reward and held-out judge", color="what"))
    if charts:
        alt.concat(*charts, columns=2).save(str(folder / FRONTIER))


def card(facts: dict[str, Any], settings: RLSettings, rows: Sequence[dict[str, Any]], seen: Sequence[Any]) -> str:
    """Markdown with a YAML head that hubs read."""
    changed = settings.model_dump(exclude_defaults=True, mode="json")
    first, last = (rows[0], rows[-1]) if rows else ({}, {})
    warnings = [warned for one in seen for warned in one["warnings"]]
    return "\n".join(
        [
            "---",
            "library_name: transformers",
            f"tags: [cai, constitutional-ai, {facts['method']}]",
            "---",
            f"# {facts['method']}: reinforcement learning from AI feedback",
            "",
            *[f"- {name}: {value}" for name, value in facts.items()],
            "",
            "## Settings",
            *[f"- {name}: {value}" for name, value in changed.items()],
            "",
            "## Measured",
            "| | first step | last step |",
            "|---|---|---|",
            *[f"| {n} | {_number(first[n])} | {_number(last[n])} |" for n in SHOWN if n in first and n in last],
            "",
            "## Signs of reward hacking",
            *([f"- step {w['step']}, {w['name']}: {w['message']}" for w in warnings] or ["- none was seen"]),
            "",
            f"![curves](../{CURVES}) ![reward against KL](../{FRONTIER})",
            "",
        ]
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _means(evaluation: dict[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for what, name in (("reward", "reward_P"), ("held-out judge", "held_out_P")):
        read = [value for value in evaluation[name] if value is not None]
        if read:
            found[what] = sum(read) / len(read)
    return found


def _line(
    alt: Any,
    points: list[dict[str, Any]],
    x: str,
    y: str,
    title: str,
    *,
    color: str | None = None,
    points_only: bool = False,
) -> Any:
    chart = alt.Chart(alt.Data(values=points), title=title).encode(
        x=alt.X(f"{x}:Q"), y=alt.Y(f"{y}:Q", scale=alt.Scale(zero=False))
    )
    if color is not None:
        chart = chart.encode(color=alt.Color(f"{color}:N", title=None))
    return (chart.mark_point(size=14) if points_only else chart.mark_line()).properties(width=240, height=150)
