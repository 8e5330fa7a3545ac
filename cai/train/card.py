"""The model card: what the model was made from, how, and what was measured; plain facts from the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cai.config.train import TrainSettings
from cai.train.curves import CURVES
from cai.train.methods import Method
from cai.train.plan import Plan
from cai.train.prepare import Prepared


@dataclass(frozen=True, slots=True)
class Effects:
    """What the training changed, by the metrics of its first and last rows."""

    first: dict[str, float]
    last: dict[str, float]
    steps: int
    best_step: int | None


def effects_of(rows: Sequence[dict[str, float]], best_step: int | None) -> Effects:
    """The first and the last value of every metric, evaluations and steps alike."""
    first, last = dict[str, float](), dict[str, float]()
    for row in rows:
        for name, value in row.items():
            first.setdefault(name, value)
            last[name] = value
    return Effects(first, last, int(last.get("step", 0)), best_step)


def model_card(
    method: Method,
    settings: TrainSettings,
    prepared: Prepared,
    plan: Plan,
    effects: Effects,
    fingerprint: str,
    extra: dict[str, Any],
) -> str:
    """Markdown with a YAML head that hubs read."""
    changed = settings.model_dump(exclude_defaults=True)
    shown = [n for n in effects.last if n.startswith("eval_") or n in ("loss", "accuracy", "margin")]
    lines = [
        "---",
        "library_name: transformers",
        f"tags: [cai, constitutional-ai, {method.name}]",
        "---",
        f"# {method.name}: {method.help}",
        "",
        f"Trained by `cai train {method.name}` from `{settings.model}` (fingerprint {fingerprint}).",
        "",
        "## Data",
        *[f"- {s.path.name}: {s.rows:,} rows, sha256 {s.sha256}" for s in prepared.sources],
        f"- {prepared.train:,} training and {prepared.evaluation:,} evaluation examples, no prompt in both",
        f"- left out for their length: {prepared.dropped:,}; cut: {prepared.cut:,}",
        *[f"- constitution sha256 {sha}" for sha in prepared.constitutions],
        "",
        "## Settings",
        f"- learning rate {plan.learning_rate:g} ({settings.schedule}), batch {settings.batch_size}, "
        f"{effects.steps:,} steps, {'LoRA rank ' + str(settings.lora_rank) if settings.lora_rank else 'all weights'}, "
        f"{settings.precision}, seed {settings.seed}",
        *[f"- {key}: {value}" for key, value in changed.items() if key not in ("model", "data", "seed")],
        "",
        "## Measured",
        "| | first | last |",
        "|---|---|---|",
        *[f"| {n} | {effects.first[n]:.4g} | {effects.last[n]:.4g} |" for n in shown],
        *([f"\nThe weights are those of step {effects.best_step}, which evaluated best."] if effects.best_step else []),
        *[f"- {key}: {_shown(value)}" for key, value in extra.items()],
        "",
        f"![learning curves]({CURVES})",
        "",
    ]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
