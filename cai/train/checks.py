"""What is checked about the data as a whole before any weights load, and what the user is told about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cai.config.train import TrainSettings
from cai.errors import InputError
from cai.seeds import seed_for
from cai.train.examples import Example
from cai.train.methods import Method


@dataclass(frozen=True, slots=True)
class Split:
    """Training and evaluation examples, with no prompt in both."""

    train: list[Example]
    evaluation: list[Example]


def refuse_unusable(method: Method, settings: TrainSettings, config: Mapping[str, Any]) -> None:
    """Raise InputError for settings that exclude each other, a model of the wrong kind, a tracker that is missing."""
    best_of_k = method.kind == "reward" and settings.reward_loss == "best-of-k"
    if settings.hard and best_of_k:
        raise InputError("`hard` is for pairs, and the data is lists", "give `p_best` of 0 and 1 instead")
    if method.kind != "reward" and any("SequenceClassification" in name for name in config.get("architectures") or ()):
        raise InputError(
            f"{settings.model} is a reward model", f"{method.name} trains a language model: give one with -m"
        )
    for tracker in settings.report_to:
        if find_spec(tracker) is None:
            raise InputError(
                f"{tracker} is not installed", f"pip install {tracker}, or leave it out of train.report_to"
            )


def refuse_unfit(
    method: Method, settings: TrainSettings, train: Sequence[Example], evaluation: Sequence[Example]
) -> None:
    """Raise InputError where the data lacks what a setting asks for."""
    if method.kind == "reward" and settings.reward_loss == "margin":
        without = next((e.id for e in (*train, *evaluation) if e.margin is None), None)
        if without is not None:
            raise InputError(f"{without} has no `margin`", "add the column, or set train.reward_loss=pairs")
    if settings.early_stop and not evaluation:
        raise InputError(
            "an early stop needs an evaluation, and no prompt is aside", "give train.eval_data or more data"
        )


def one_constitution(examples: Iterable[Example], *, allow_mixed: bool) -> tuple[str, ...]:
    """The constitutions behind the data, in order of appearance. Raises InputError for several unless allowed."""
    found = tuple(dict.fromkeys(e.constitution for e in examples if e.constitution))
    if len(found) > 1 and not allow_mixed:
        raise InputError(
            f"the data was made under {len(found)} constitutions ({', '.join(s[:12] for s in found[:4])})",
            "train on one of them, or set train.mixed_constitutions=true",
        )
    return found


def refuse_shared_prompts(train: Sequence[Example], others: Iterable[str], name: str) -> None:
    """Raise InputError when a training prompt is one of `others` (prompt ids of an evaluation set)."""
    known = set(others)
    shared = [e.id for e in train if e.prompt.id in known]
    if shared:
        raise InputError(
            f"{len(shared)} training examples share their prompt with {name} ({', '.join(shared[:3])})",
            "take them out of one of the two: an evaluation on trained prompts measures memory",
        )


def split_by_prompt(examples: list[Example], share: float, seed: int) -> Split:
    """Keep about `share` of the *prompts* aside: all examples of one prompt fall on one side, whatever their order."""
    if share == 0:
        return Split(examples, [])
    aside = {e.prompt.id for e in examples if seed_for(seed, "train-eval", e.prompt.id) < share * 2**63}
    split = Split([e for e in examples if e.prompt.id not in aside], [e for e in examples if e.prompt.id in aside])
    return split if split.train and split.evaluation else Split(examples, [])


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of prompt and longest reply over the data, against the most that fit."""

    tokens: tuple[int, ...]
    limit: int

    @property
    def over(self) -> int:
        return sum(n > self.limit for n in self.tokens)

    def lines(self, bins: int = 8, width: int = 30) -> list[str]:
        """A histogram, one line a bin; bins above the limit are marked."""
        if not self.tokens:
            return []
        top = max(self.tokens)
        step = max(1, -(-(top + 1) // bins))
        counts = [0] * bins
        for n in self.tokens:
            counts[n // step] += 1
        drawn = [f"  {step * i:>6}-{step * (i + 1) - 1:<6} {'#' * round(width * c / max(counts)):<{width}} {c:,}"
                 + (f"  over {self.limit}" if step * (i + 1) - 1 > self.limit and c else "")
                 for i, c in enumerate(counts) if step * i <= top]  # fmt: skip
        return [f"tokens per example (at most {top:,}; {self.limit:,} fit):", *drawn]


def default_file(run: Path, name: str) -> Path:
    """The run's own export, where the stage before has written one."""
    file = run / name
    if not file.is_file():
        raise InputError(
            f"the run has no {name}",
            "give files with `train.data=[FILE]`, or run `cai critique` (for sft) or `cai label` first",
        )
    return file
