"""The part of the labels that people answer too: a blind stratified sample out, their answers back in.

Nobody sees what the judge said: the two replies are numbered in an order drawn from the record's seed.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cai.errors import InputError, InputErrors, Where
from cai.inputs.rows import file_rows
from cai.judge.given import ALL_COLUMNS
from cai.judge.prompts import conversation_text
from cai.records import Comparison, Label, Message, Record
from cai.seeds import content_id, seed_for

Said = Literal["1", "2", "tie", "cannot tell"]
SAID: dict[str, Said] = {
    "1": "1",
    "2": "2",
    "tie": "tie",
    "=": "tie",
    "cannot tell": "cannot tell",
    "?": "cannot tell",
}
COLUMNS = ("id", "question", "conversation", "reply_1", "reply_2", "answer")
BANDS = (0.65, 0.85)
"""Confidence of a label, max(p, 1 - p), below, between and above which it belongs to another stratum."""
_FORMULA = tuple("=+-@\t\r|%＝＋－＠")


class Item(Record):
    """One question to a person. `answer` is 1, 2, tie or cannot tell; None where nobody answered yet."""

    id: str
    question: str
    prompt: tuple[Message, ...]
    reply_1: str
    reply_2: str
    category: str = ""
    answer: Said | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """One comparison with what is needed to compare it with a person's answer."""

    label: Label
    comparison: Comparison

    @property
    def id(self) -> str:
        """Depends on the conversation, the two texts and the principles, not on the run or the judge."""
        a, b = self._texts
        return content_id("people", self.label.prompt.id, sorted((a, b)), list(self.principles))[:16]

    @property
    def principles(self) -> tuple[str, ...]:
        return tuple(sorted({vote.principle for vote in self.comparison.votes}))

    @property
    def a_first(self) -> bool:
        """Whether reply a is the one numbered 1."""
        a, b = self._texts
        return (seed_for(0, "blind", self.id) % 2 == 0) == (a <= b)

    @property
    def stratum(self) -> tuple[str, tuple[str, ...], int]:
        p = self.comparison.p_a or 0.0
        return self.label.prompt.category, self.principles, sum(max(p, 1.0 - p) >= band for band in BANDS)

    @property
    def _texts(self) -> tuple[str, str]:
        return self.label.replies[self.comparison.a], self.label.replies[self.comparison.b]

    def item(self, voices: Mapping[str, str]) -> Item:
        """The question for people, in the words the judge was asked in."""
        a, b = self._texts
        return Item(
            id=self.id,
            question="\n".join(voices.get(name, name) for name in self.principles),
            prompt=self.label.prompt.messages,
            reply_1=a if self.a_first else b,
            reply_2=b if self.a_first else a,
            category=self.label.prompt.category,
        )

    def outcome(self, said: Said) -> float | None:
        """1 where the person prefers reply a, 0 for b, 0.5 for a tie; None for cannot tell."""
        if said in ("1", "2"):
            return float((said == "1") == self.a_first)
        return 0.5 if said == "tie" else None


def judged(labels: Iterable[Label]) -> Iterator[Judged]:
    """Every comparison that was read."""
    for label in labels:
        for comparison in label.comparisons:
            if comparison.p_a is not None:
                yield Judged(label, comparison)


def stratified(everything: Iterable[Judged], fraction: float, run_seed: int) -> list[Judged]:
    """About `fraction` of all, spread over category, principle and confidence as they occur, in input order.

    Each stratum gives its share rounded down, and the rest goes to the largest remainders, so that rare strata are met.
    """
    strata: defaultdict[object, list[tuple[int, Judged]]] = defaultdict(list)
    for position, one in enumerate(everything):
        strata[one.stratum].append((position, one))
    total = round(fraction * sum(len(members) for members in strata.values()))
    by_remainder = sorted(strata, key=lambda key: (-(fraction * len(strata[key]) % 1.0), str(key)))
    quota = {key: math.floor(fraction * len(members)) for key, members in strata.items()}
    for key in by_remainder[: max(0, total - sum(quota.values()))]:
        quota[key] += 1
    drawn = [
        entry
        for key, members in strata.items()
        for entry in sorted(members, key=lambda entry: seed_for(run_seed, "people", entry[1].id))[: quota[key]]
    ]
    return [one for _, one in sorted(drawn, key=lambda entry: entry[0])]


def safe_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula: an apostrophe in front of what could start one."""
    return f"'{text}" if text.lstrip(" \n\v\f\u00a0\ufeff").startswith(_FORMULA) or text[:1] in ("\t", "\r") else text


def as_csv(items: Sequence[Item]) -> str:
    """The sample as a table to fill in: write 1, 2, tie or cannot tell under `answer`."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    table.writerow(COLUMNS)
    for item in items:
        cells = (item.id, item.question, conversation_text(item.prompt), item.reply_1, item.reply_2, item.answer or "")
        table.writerow([safe_cell(cell) for cell in cells])
    return out.getvalue()


def as_jsonl(items: Sequence[Item]) -> str:
    """The sample as one JSON object a line, for a labelling page."""
    return "".join(f"{item.model_dump_json()}\n" for item in items)


def read_answers(path: Path) -> dict[str, Said]:
    """Answers by id from a filled-in CSV or JSONL; empty ones are left out. Raises InputErrors with lines."""
    if not path.is_file():
        raise InputError("no such file", "give the filled-in people.csv or people.jsonl", Where(path))
    found: dict[str, Said] = {}
    problems: list[InputError] = []
    for row in file_rows(path, ALL_COLUMNS):
        if isinstance(row, InputError):
            problems.append(row)
            continue
        id, answer = row.cells.get("id"), row.cells.get("answer")
        if not isinstance(id, str):
            raise InputError(
                "no column `id`", "give the file that this run wrote, with the answers filled in", row.where
            )
        if answer is None or not (said := str(answer).strip().strip("'").lower()):
            continue
        if said not in SAID:
            problems.append(InputError(f"answer {said[:40]!r}", "write 1, 2, tie or cannot tell", row.where))
        elif found.get(id, SAID[said]) != SAID[said]:
            problems.append(InputError(f"a second, different answer to {id}", "keep one of them", row.where))
        else:
            found[id] = SAID[said]
    if problems:
        raise InputErrors(problems[:20])
    if not found:
        raise InputError("no answers in the file", "fill in the column `answer`", Where(path))
    return found


def dumps(value: object) -> str:
    """Indented JSON with its keys sorted."""
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False) + "\n"
