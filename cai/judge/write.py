"""What a finished label stage writes into its run: pairs, diagnostics, the card, and the sample for people."""

# pyright: standard
# (pyarrow has no types)

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cai.config.label import Plan
from cai.constitution.model import Constitution
from cai.judge.alignment import Alignment
from cai.judge.diagnostics import Diagnostics
from cai.judge.lists import list_rows, list_schema
from cai.judge.pairs import rows, schema
from cai.judge.people import Judged, as_csv, as_jsonl, dumps, judged, stratified
from cai.judge.report import diagnostics_lines
from cai.judge.stage import labels
from cai.store import Run, batches

PAIRS, LISTS, DIAGNOSTICS, CARD = "pairs.parquet", "lists.parquet", "diagnostics.json", "README.md"
PEOPLE_CSV, PEOPLE_JSONL, ALIGNMENT, WEIGHTS = "people.csv", "people.jsonl", "people.json", "weights.json"

_HEAD = f"""---
configs:
- config_name: default
  data_files:
  - split: train
    path: {PAIRS}
tags:
- constitutional-ai
- preference
- synthetic
---
"""


def write_pairs(run: Run, plan: Plan, min_margin: float) -> int:
    """Write pairs.parquet from the stored labels and return the number of pairs."""
    columns = schema()
    return run.write_export(PAIRS, batches(rows(labels(run), plan, min_margin), columns), columns)


def write_lists(run: Run) -> int:
    """Write lists.parquet, whole sets of three replies or more with each one's chance of being the best; its rows."""
    columns = list_schema()
    return run.write_export(LISTS, batches(list_rows(labels(run)), columns), columns)


def write_diagnostics(run: Run, found: Diagnostics) -> None:
    """Write diagnostics.json; the same labels give the same bytes."""
    run.write_text(DIAGNOSTICS, dumps(found.model_dump(mode="json")))


def write_card(
    run: Run, constitution: Constitution, found: Diagnostics, *, source: str, judges: Sequence[str], mode: str
) -> None:
    """Write the data card."""
    lines = [
        f"{_HEAD}# {run.name}",
        "",
        "Pairs of replies compared by a language model under a written constitution. Synthetic labels: nobody has",
        "checked all of them.",
        "",
        f"- replies: {source}",
        f"- constitution: {constitution.name} (`{constitution.sha}`)",
        f"- judges: {', '.join(judges)}, mode {mode}",
        "",
        f"`{PAIRS}`: `prompt`, `chosen`, `rejected` in the conversational format; `p_chosen` is the probability that",
        "`chosen` is the better reply; `votes` holds every answer behind it.",
        f"`{LISTS}`: `prompt`, `replies` of three or more, `p_best` of each.",
        "",
        *[f"- {line}" for line in diagnostics_lines(found)],
        "",
    ]
    run.write_text(CARD, "\n".join(lines))


def write_people(run: Run, voices: Mapping[str, str], fraction: float, run_seed: int) -> int:
    """Write the stratified sample for people as CSV and JSONL and return its size."""
    drawn: list[Judged] = stratified(judged(labels(run)), fraction, run_seed)
    items = [one.item(voices) for one in drawn]
    run.write_text(PEOPLE_CSV, as_csv(items))
    run.write_text(PEOPLE_JSONL, as_jsonl(items))
    return len(items)


def write_alignment(run: Run, found: Alignment) -> None:
    """Write what the judges' agreement with people came to and, where some were learnt, the judges' weights."""
    run.write_text(ALIGNMENT, dumps(found.model_dump(mode="json")))
    if found.weights is not None:
        run.write_text(WEIGHTS, dumps(found.weights.model_dump(mode="json")))
