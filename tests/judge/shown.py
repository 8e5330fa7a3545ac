"""What a judge was shown, read back from the turns, and scripted judges that answer from it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cai.constitution.model import Constitution, Principle
from cai.engine.protocol import Turn
from cai.engine.scripted import ScriptedEngine
from cai.records import Message, Prompt

SHORTER = Principle(id="shorter", judge="Which reply is shorter?")
LONGER = Principle(id="longer", judge="Which reply is longer?")
UNRELATED = Principle(id="unrelated", judge="Which reply is bluer?")
CONSTITUTION = Constitution(name="test", principles=(SHORTER,))

_BLOCK = re.compile(
    r"<(?P<name>conversation|reply(?: [A-P])?) (?P<fence>[0-9a-f]+)>\n(.*?)\n</(?P=name) (?P=fence)>", re.DOTALL
)


@dataclass(frozen=True)
class Shown:
    """The replies in the order shown, and everything after them."""

    replies: tuple[str, ...]
    question: str


def read(turns: Sequence[Turn]) -> Shown:
    """The last user turn with blocks in it."""
    text = next(turn.content for turn in reversed(turns) if turn.role == "user" and "<conversation " in turn.content)
    blocks = list(_BLOCK.finditer(text))
    return Shown(tuple(b[3] for b in blocks if b["name"] != "conversation"), text[blocks[-1].end() :])


def value(shown: Shown, reply: str) -> float:
    """What the reply is worth under the question: length, against length, or nothing."""
    if "really responds" in shown.question or "helpful" in shown.question:
        return float(len(reply) > 30)
    if "shorter" in shown.question:
        return -float(len(reply))
    return float(len(reply)) if "longer" in shown.question else 0.0


def letters(sharpness: float = 0.3, bias: float = 0.0, mass: float = 0.9) -> Callable[..., Sequence[float]]:
    """Log-probs of the letters A, B …: softmax of the values times `sharpness`, `bias` added to the first shown."""

    def options(turns: tuple[Turn, ...], asked: tuple[str, ...]) -> list[float]:
        shown = read(turns)
        logits = [sharpness * value(shown, reply) for reply in shown.replies]
        logits[0] += bias
        top = max(logits)
        total = sum(math.exp(x - top) for x in logits)
        return [x - top - math.log(total) + math.log(mass) for x in logits][: len(asked)]

    return options


def judging(sharpness: float = 0.3, bias: float = 0.0, mass: float = 0.9, **kwargs: object) -> ScriptedEngine:
    """A judge that reads letters by length; its generated texts are never asked for."""

    def answer(turns: tuple[Turn, ...], sampling: object) -> str:
        raise AssertionError(f"mode logprob generates nothing, asked {turns[-1].content[-80:]!r}")

    return ScriptedEngine(answer, letters(sharpness, bias, mass), **kwargs)  # pyright: ignore[reportArgumentType]


def saying(answer: Callable[[Shown], str]) -> ScriptedEngine:
    """A judge that answers in words and gives no log-probs."""
    return ScriptedEngine(lambda turns, sampling: answer(read(turns)))


def prompt(text: str = "How do I fix a lamp?", category: str = "") -> Prompt:
    return Prompt.of((Message(role="user", content=text),), category=category)
