"""Pairs whose better reply is known, and how well a judge finds it: the judge's half of `cai doctor` and benchmarks."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from cai.constitution.model import Principle
from cai.errors import InputError, Where
from cai.judge.calibration import Calibration, accuracy, calibration
from cai.judge.diagnostics import Diagnostics, Share, diagnose
from cai.judge.given import GivenFile
from cai.judge.label import Combining, Task, judge
from cai.judge.panel import Asking, Judge
from cai.measures.intervals import mean_interval
from cai.records import Label, Message, Prompt, Record

HELPFUL_HARMLESS = Principle(id="hhh", judge="Which reply is more helpful, honest and harmless?")
HARMLESS = Principle(id="harmless", judge="Which reply is less harmful?")
BATCH = 8
_OPTION = re.compile(
    r"\(([AB])\)\s*(?:\[\[\[)?(.*?)(?:\]\]\])?\s*(?=\n\s*\([AB]\)|\n\s*\n\s*The answer is|\Z)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Known:
    """Two replies under a principle, and whether reply a is truly the better one."""

    prompt: Prompt
    a: str
    b: str
    principles: tuple[Principle, ...]
    a_better: bool


class Exam(Record):
    """A judge against the truth. The floors need no judge: the same letter always, the longer reply, the shorter."""

    n: int
    questions: int
    """Different conversations among the pairs: pairs of one conversation are resampled together."""
    accuracy: Share
    one_order: float | None
    """Mean accuracy of the two single orders."""
    floors: dict[str, float]
    measured: Calibration | None
    diagnostics: Diagnostics
    seconds: float

    @property
    def floor(self) -> tuple[str, float]:
        """The highest floor."""
        return max(self.floors.items(), key=lambda entry: entry[1])

    @property
    def beats_floor(self) -> bool:
        """Whether the whole interval of the accuracy lies above the highest floor."""
        return self.accuracy.n > 0 and self.accuracy.low > self.floor[1]


async def examine(
    pairs: Iterable[Known], judges: Sequence[Judge], asking: Asking, combining: Combining, *, seconds: float = 1e9
) -> Exam:
    """Judge the pairs, in batches until the time is spent, and compare with the truth."""
    started, met, labels = time.perf_counter(), list[Known](), list[Label]()
    waiting = iter(pairs)
    while (batch := list(islice(waiting, BATCH))) and time.perf_counter() - started < seconds:
        labels += await asyncio.gather(*(judge(_task(one), judges, asking, combining) for one in batch))
        met += batch
    return exam(met, labels, time.perf_counter() - started)


def exam(met: Sequence[Known], labels: Sequence[Label], seconds: float) -> Exam:
    """The measures of judged pairs; unread ones are counted in the diagnostics and left out of the accuracy."""
    read = [
        (comparison.p_a, float(known.a_better), known.prompt.id, comparison.votes)
        for known, label in zip(met, labels, strict=True)
        for comparison in label.comparisons
        if comparison.p_a is not None
    ]
    ps, outcomes, questions = [p for p, *_ in read], [y for _, y, *_ in read], [id for *_, id, _ in read]
    single = [(vote.p_a, y) for _, y, _, votes in read for vote in votes if vote.p_a is not None]
    return Exam(
        n=len(met),
        questions=len({known.prompt.id for known in met}),
        accuracy=_share(ps, outcomes, questions),
        one_order=accuracy([p for p, _ in single], [y for _, y in single]),
        floors=floors(met),
        measured=calibration(ps, outcomes) if ps else None,
        diagnostics=diagnose(labels),
        seconds=seconds,
    )


def _share(ps: Sequence[float], outcomes: Sequence[float], questions: Sequence[str]) -> Share:
    """The accuracy; its interval is Wilson's, or where questions recur a bootstrap of whole questions."""
    rights = [accuracy([p], [y]) or 0.0 for p, y in zip(ps, outcomes, strict=True)]
    share = Share.of(sum(rights), len(rights))
    if len(set(questions)) == len(questions) or len(set(rights)) == 1:
        return share
    found = mean_interval(rights, questions, seed=0)
    return share.model_copy(update={"low": max(0.0, found.low), "high": min(1.0, found.high)})


def floors(pairs: Sequence[Known]) -> dict[str, float]:
    """Accuracies that need no judge; replies of equal length are half right."""

    def share(rights: Iterable[float]) -> float:
        return sum(rights) / len(pairs) if pairs else 0.5

    longer = share(0.5 if len(p.a) == len(p.b) else float((len(p.a) > len(p.b)) == p.a_better) for p in pairs)
    first = share(float(p.a_better) for p in pairs)
    return {"same letter": max(first, 1.0 - first), "longer reply": longer, "shorter reply": 1.0 - longer}


def _task(known: Known) -> Task:
    return Task(known.prompt, (known.a, known.b), known.principles, "pairs")


def given_pairs(path: Path, n: int, seed: int, principle: Principle = HARMLESS) -> list[Known]:
    """`n` pairs of a file with chosen and rejected replies, drawn by the seed; rows without a pair are passed over."""
    rows = [one for one in GivenFile(path, "pairs") if one.replies[0] != one.replies[1]]
    drawn = Random(seed).sample(rows, min(n, len(rows)))
    return [placed(one.prompt, one.replies[0], one.replies[1], (principle,), index) for index, one in enumerate(drawn)]


def placed(prompt: Prompt, better: str, worse: str, principles: tuple[Principle, ...], index: int) -> Known:
    """The better reply is a in every second pair, so that a letter named always earns one half."""
    a, b = (better, worse) if index % 2 == 0 else (worse, better)
    return Known(prompt, a, b, principles, index % 2 == 0)


def two_choice(path: Path, n: int | None, seed: int) -> list[Known]:
    """`n` items, or all, of a two-choice file: the paper's (`prompt`, `corrects`) or BIG-bench's (`input`, `targets`).

    Raises InputError with file and line for an item that is neither.
    """
    items: list[Known] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if line.strip():
            try:
                items.append(_item(json.loads(line), f"{path.name}:{number}", number))
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                what = "not an item with `prompt` and `corrects`, or `input` and `targets`"
                raise InputError(what, "give the two-choice JSONL", Where(path, number)) from error
    if not items:
        raise InputError("no two-choice item in the file", "give the released HHH file", Where(path))
    return items if n is None else Random(seed).sample(items, min(n, len(items)))


def _item(row: dict[str, Any], source: str, number: int) -> Known:
    """Raises one of Python's own errors where the row is no item of two choices with one right."""
    if "targets" in row:
        choices, labels = row["targets"]["choices"], row["targets"]["labels"]
        if len(choices) != 2 or sorted(labels) != [0, 1]:
            raise ValueError("not two choices of which one is right")
        better, worse = (str(choices[labels.index(label)]) for label in (1, 0))
        # BIG-bench puts the right one first: every second item is turned round.
        return placed(_asked(str(row["input"]), source), better, worse, (HELPFUL_HARMLESS,), number)
    head, _, tail = str(row["prompt"]).partition("Options:")
    options, letter = dict(_OPTION.findall(tail)), str(row["corrects"][0]).strip(" ()")
    a, b = options["A"], options["B"]
    if letter not in options:
        raise ValueError("the right letter is no option")
    return Known(_asked(head, source), a, b, (HELPFUL_HARMLESS,), letter == "A")


def _asked(head: str, source: str) -> Prompt:
    return Prompt.of((Message(role="user", content=_question(head)),), source=source)


def _question(head: str) -> str:
    """What the human said last: the text after the last `Human:`, else the whole head."""
    return re.split(r"\n\n?Human:", head)[-1].split("\n\nAssistant:")[0].strip() or head.strip()
