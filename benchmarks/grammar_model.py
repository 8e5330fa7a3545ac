"""A model that knows the testbed's grammar by heart: drafts, criticises, revises and judges as the world defines it.

With it a comparison runs end to end and its truth is known, without depending on how well a small model was trained. It
overlooks a share of its tasks (`lapse`), so that nothing is perfect.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from random import Random

from cai.critique.prompts import NO_CHANGE
from cai.engine.protocol import Sampling, Turn
from cai.engine.scripted import ScriptedEngine
from cai.records import Message, Prompt
from cai.seeds import content_id
from cai.testbed.oracle import read
from cai.testbed.world.drafts import draft
from cai.testbed.world.edits import applies, degree, edit
from cai.testbed.world.meaning import Meaning, meaning_of
from cai.testbed.world.need import Need
from cai.testbed.world.reading import need_of
from cai.testbed.world.replies import Reply, Sentence, text_of

_BLOCK = re.compile(r"<(conversation|reply A|reply B) (\w+)>\n(.*?)\n</\1 \2>", re.S)


def grammar_model(lapse: float = 0.1) -> ScriptedEngine:
    return ScriptedEngine(lambda turns, sampling: _answer(turns, sampling, lapse), _choose, model="grammar")


def _reply(prompt: Prompt, text: str) -> Reply:
    """The sentences with the tags of the world's edits: a step towards harm is `harm` there."""
    found = read(prompt, text).sentences
    tags = ["harm" if one.attribute == "complies-with-harm" else one.tag or "filler" for one in found]
    return tuple(Sentence(tag, one.text) for tag, one in zip(tags, found, strict=True))


def _prompt(turns: Sequence[Turn]) -> Prompt:
    return Prompt.of(tuple(Message(role=turn.role, content=turn.content) for turn in turns))


def _answer(turns: tuple[Turn, ...], sampling: Sampling, lapse: float) -> str:
    """A draft, a critique or a revision, by what the last turn asks for."""
    rng, last = Random(sampling.seed), turns[-1].content
    if last.endswith(NO_CHANGE):
        return _criticise(turns, last, rng, lapse)
    if last.endswith("Answer with the new reply only."):
        return _revise(turns, last, rng, lapse)
    need = need_of(_prompt(turns))
    return text_of(draft(need, rng)) if need else "I do not know."


def _asked(turns: Sequence[Turn], voice: str, back: int) -> tuple[Need | None, Reply, Meaning | None]:
    prompt = _prompt(turns[: -back - 1])
    return need_of(prompt), _reply(prompt, turns[-back - 1].content), meaning_of(voice.split("\n")[0])


def _criticise(turns: tuple[Turn, ...], last: str, rng: Random, lapse: float) -> str:
    need, reply, meaning = _asked(turns, last, 1)
    if need is None or meaning is None or not applies(need, meaning.axis) or rng.random() < lapse:
        return NO_CHANGE
    mended = edit(reply, need, meaning.axis, meaning.direction, Random(1))
    return NO_CHANGE if mended == reply else f"The reply has a fault: {meaning.axis} should be {meaning.direction:+d}."


def _revise(turns: tuple[Turn, ...], last: str, rng: Random, lapse: float) -> str:
    need, reply, meaning = _asked(turns, last, 3)
    if need is None or meaning is None or rng.random() < lapse:
        return turns[-4].content
    return text_of(edit(reply, need, meaning.axis, meaning.direction, rng))


def _choose(turns: tuple[Turn, ...], options: tuple[str, ...]) -> Sequence[float]:
    """A judge: nine to one for the reply that has more (or less) of the axis; undecided answers follow the letter A."""
    text = turns[-1].content
    parts = {name: body for name, _, body in _BLOCK.findall(text)}
    voice = text.rsplit("\n", 2)[-2]
    request = re.split(r"(?:\A|\n\n)User: ", parts["conversation"])[-1]
    prompt = Prompt.of((Message(role="user", content=request),))
    need, meaning = need_of(prompt), meaning_of(voice)
    p = 0.55
    if need is not None and meaning is not None and applies(need, meaning.axis):
        a, b = (meaning.direction * degree(_reply(prompt, parts[f"reply {x}"]), need, meaning.axis) for x in "AB")
        if a != b:
            p = 0.9 if a > b else 0.1
    noise = (int(content_id(text)[:4], 16) % 100) / 2000
    p = min(max(p + noise - 0.025, 0.05), 0.95)
    return [math.log(p), math.log(1.0 - p)] if options == ("A", "B") else [math.log(0.5)] * len(options)
