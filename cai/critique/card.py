"""The dataset card: what a stranger needs to know before using sft.parquet."""

from __future__ import annotations

from cai.constitution import Principle
from cai.critique.export import DROPPED, SFT
from cai.critique.hygiene import PROBLEMS
from cai.critique.loop import Parts, Plan
from cai.critique.report import Report, outcome_table, principle_table

HEAD = f"""---
configs:
- config_name: default
  data_files:
  - split: train
    path: {SFT}
tags:
- constitutional-ai
- synthetic
---
"""


def dataset_card(run: str, source: str, parts: Parts, plan: Plan, report: Report) -> str:
    """Markdown with the YAML head that `datasets` reads; the same rows give the same card."""
    models = parts.models()
    loop = plan.constitution.loop
    check = ", then a check against every principle" if plan.final_check else ""
    lines = [
        f"{HEAD}# {run}",
        "",
        "Replies drafted, criticised and revised by a language model under a written constitution. Synthetic text:",
        "nobody has read all of it.",
        "",
        f"- prompts: {source}",
        f"- constitution: {plan.constitution.name} (`{plan.constitution.sha}`)",
        f"- loop: {plan.rounds} rounds, principles drawn by `{loop.draw}`{check}",
        f"- models: draft {models['draft']}, critic {models['critic']}, reviser {models['reviser']}",
        f"- sampling: temperature {plan.temperature:g}, top_p {plan.top_p:g}, seed {plan.seed}",
        "",
        f"`{SFT}`: `messages` in the conversational format, then provenance: the draft, every critique and revision.",
        f"`{DROPPED}`: what was left out, each row with its reason.",
        "",
        *markdown(outcome_table(report)),
        "",
        *[f"- {name}: {PROBLEMS[name]}" for name in PROBLEMS if report.dropped[name]],
        "",
        *markdown(principle_table(report)),
        "",
        "## Principles",
        "",
        *[_principle(principle) for principle in plan.constitution.principles],
    ]
    return "\n".join(lines) + "\n"


def markdown(table: list[list[str]]) -> list[str]:
    """A table's lines; a bar within a cell is escaped."""
    head, *rows = [[cell.replace("|", "\\|") for cell in row] for row in table]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(row)} |" for row in (head, rule, *rows)]


def _principle(principle: Principle) -> str:
    return f"- **{principle.id}** {' '.join(principle.critique.split())}"
