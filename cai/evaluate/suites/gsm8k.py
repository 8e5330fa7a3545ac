"""GSM8K: school arithmetic, exact match of the last number: what alignment must not cost (the alignment tax)."""

from __future__ import annotations

import re
from pathlib import Path

from cai.engine.protocol import Engine
from cai.evaluate.rows import bad, rows, text
from cai.evaluate.suite import Answer, How, Item, Metric, Suite, answer, turns_of, user

NAME = "gsm8k"
ASK = "{question}\n\nThink step by step. End with a line that holds the final number alone, after ####."
_MARKED = re.compile(r"####\s*\$?(-?[\d,]+(?:\.\d+)?)")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def load(path: Path) -> list[Item]:
    """Columns question and answer; the answer ends in `#### number`."""
    found: list[Item] = []
    for row in rows(path, {"question": str, "answer": str}):
        gold = _MARKED.search(text(row, "answer"))
        if gold is None:
            raise bad(row, "answer", "the answer does not end in `#### number`")
        prompt = user(ASK.format(question=text(row, "question")), source=row.source)
        found.append(Item(prompt=prompt, cluster=prompt.id, facts={"number": _plain(gold[1])}))
    return found


def read_number(reply: str) -> str | None:
    """The number after ####, else the last number in the reply; None without any."""
    marked = _MARKED.findall(reply)
    numbers = marked or _NUMBER.findall(reply)
    return _plain(numbers[-1]) if numbers else None


def _plain(number: str) -> str:
    digits = number.replace(",", "").rstrip(".")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


async def ask(engine: Engine, item: Item, how: How) -> Answer:
    drawn = await engine.generate(turns_of(item.prompt), how.sampling(NAME, item.prompt.id))
    return answer(NAME, item, [drawn.text], scores(item, drawn.text), drawn.usage)


def scores(item: Item, reply: str) -> dict[str, float | None]:
    """A reply without any number is wrong, and counted as such: the answer was asked for."""
    found = read_number(reply)
    return {"exact match": float(found == item.facts["number"]), "no number": float(found is None)}


SUITE = Suite(
    NAME,
    "1,319 school arithmetic questions",
    "gsm8k/test.jsonl",
    load,
    ask,
    (
        Metric("exact match", "higher", "final number right", primary=True),
        Metric("no number", "lower", "replies without any number, counted as wrong"),
    ),
)
