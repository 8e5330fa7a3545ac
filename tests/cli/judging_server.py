"""What a served policy and judge answer: replies of a length that the seed decides, verdicts by length."""

from __future__ import annotations

import json
import math
from pathlib import Path
from random import Random
from typing import Any

from cai.engine.protocol import Turn
from tests.cli.process import Ended, cai_here
from tests.engine.fake_server import FakeServer, answer
from tests.judge.shown import letters, read, value

TWO = """name: two
principles:
  - {id: shorter, weight: 2, judge: Which reply is shorter?}
  - {id: longer, judge: Which reply is longer?}
"""


def behave(number: int, content: dict[str, Any]) -> dict[str, Any]:
    """A verdict where two replies are shown, else a reply; `m-contrary` prefers the other one."""
    said = [str(message["content"]) for message in content["messages"]]
    text = next((one for one in said if "<conversation " in one), said[-1])
    if "<conversation " not in text:
        return answer("word " * Random(content["seed"]).randint(1, 9))
    return verdict(content, text)


def verdict(content: dict[str, Any], text: str) -> dict[str, Any]:
    """Letters with log-probs where they are asked for, words otherwise."""
    turns = (Turn("user", text),)
    shown = read(turns)
    sign = -1.0 if content["model"] == "m-contrary" else 1.0
    if content.get("logprobs"):
        options = [f"{letter}" for letter in "ABCDEFGHIJKLMNOP"[: len(shown.replies)]]
        scored = list(zip(options, letters(sharpness=0.3 * sign)(turns, tuple(options)), strict=True))
        if len(shown.replies) == 1:  # a number: twice as likely as all others together at the reply's worth
            best = 1 + round(min(9, max(0, 4.5 + sign * value(shown, shown.replies[0]) / 2)))
            scored = [(str(n), math.log(2 / 3 if n == best else 1 / 27)) for n in range(1, 11)]
        top = [{"token": token, "logprob": logprob, "bytes": None} for token, logprob in scored]
        return answer("A", logprobs={"content": [{"token": "A", "logprob": 0.0, "bytes": None, "top_logprobs": top}]})
    values = [sign * value(shown, reply) for reply in shown.replies]
    order = sorted(range(len(values)), key=lambda i: -values[i])
    if "Rank all replies" in text:
        return answer(" > ".join("ABCDEFGHIJKLMNOP"[i] for i in order))
    return answer("Tie." if values[0] == values[1] else f"{'AB'[order[0]]} is better.")


def label(fake: FakeServer, folder: Path, *words: str) -> Ended:
    """`cai label` with the server as policy and judge."""
    (folder / "two.yaml").write_text(TWO)
    quick = ("first_wait=0.01", "timeout=10", "attempts=12", f"base_url={fake.base_url}")
    settings = [f"engine.openai.{setting}" for setting in quick]
    return cai_here("label", "-c", "two.yaml", "-m", "m", "--engine", "openai", *settings, *words, cwd=folder)


def write_rows(path: Path, *rows: object) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_pairs(folder: Path, count: int) -> None:
    """`p.jsonl`: pairs whose first reply is the shorter one."""
    rows = [
        {"prompt": f"How do I lend lamp {n}?", "chosen": "Ask.", "rejected": "Ask her first. " * 2}
        for n in range(count)
    ]
    write_rows(folder / "p.jsonl", *rows)
