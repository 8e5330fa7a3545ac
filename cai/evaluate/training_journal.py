"""What a training by reinforcement wrote about itself: its evaluations, read back with file and line for what is wrong.

Every evaluation draws replies to the same held-out prompts and has a judge score them that the policy is not paid by.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ConfigDict, ValidationError

from cai.errors import InputError, Where
from cai.records import Message, Record

METRICS, EVALUATIONS = "metrics.jsonl", "evaluations.jsonl"


class Transcript(Record):
    """One held-out prompt and the policy's reply."""

    messages: tuple[Message, ...]
    reply: str
    prompt: str


class Warned(Record):
    """What the training itself warned of."""

    name: str
    step: int
    message: str


class Look(Record):
    """One evaluation of a training, a line of its `evaluations.jsonl`; None is a score that nobody could read.

    Other keys are left alone: the line is the training's, and it may write more.
    """

    model_config = ConfigDict(extra="ignore")

    step: int
    reward_P: tuple[float | None, ...]
    held_out_P: tuple[float | None, ...]
    length_P: tuple[float | None, ...]
    distinct_2: float | None
    kl: float | None
    shares: dict[str, float | None]
    transcripts: tuple[Transcript, ...]
    warnings: tuple[Warned, ...]


class Journal(Record):
    """All that a training wrote down: its evaluations, and the entropy of its steps."""

    looks: tuple[Look, ...]
    entropies: tuple[float, ...]


def read_journal(folder: Path) -> Journal:
    """The journal in a training's folder. Raises InputError with file and line for a row that is none of ours.

    A last line without its end is left out: a training that is killed tears it.
    """
    path = folder / EVALUATIONS
    if not path.is_file():
        remedy = "name a training by ppo, grpo, rloo, spo or online-dpo: runs/NAME/METHOD or its model folder"
        raise InputError("no journal of a training by reinforcement", remedy, Where(path))
    looks = [_look(path, number, line) for number, line in _lines(path)]
    if len(looks) < 2:
        raise InputError(f"{len(looks)} evaluation so far, nothing to compare", "let it train on", Where(path))
    sizes = {(len(look.reward_P), len(look.held_out_P), len(look.length_P)) for look in looks}
    if len(sizes) > 1 or len(set(sizes.pop())) > 1:
        raise InputError("evaluations of different prompts", "this is not one training's journal", Where(path))
    rows = [_step(folder / METRICS, number, line) for number, line in _lines(folder / METRICS)]
    return Journal(looks=tuple(looks), entropies=tuple(row for row in rows if row is not None))


def _lines(path: Path) -> list[tuple[int, str]]:
    text = path.read_text("utf-8") if path.is_file() else ""
    return list(enumerate(text[: text.rfind("\n") + 1].splitlines(), start=1))


def _look(path: Path, number: int, line: str) -> Look:
    try:
        return Look.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        what = f"not an evaluation: {'.'.join(map(str, first['loc']))} {first['msg']}"
        raise InputError(what, "give the journal as the training wrote it", Where(path, number)) from error


def _step(path: Path, number: int, line: str) -> float | None:
    """A step's entropy, None where it has none."""
    try:
        value = json.loads(line).get("entropy")
        return None if value is None else float(value)
    except (ValueError, TypeError, AttributeError) as error:
        remedy = "give the journal as the training wrote it"
        raise InputError("not a step's metrics", remedy, Where(path, number)) from error
