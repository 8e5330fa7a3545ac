"""Principles to pretrain on: the library's own words, plain sentences, paraphrases, and placebos without a meaning."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Literal

from cai.constitution import Principle
from cai.constitution.model import CRITIQUE_TEMPLATE, JUDGE_TEMPLATE, REVISE_TEMPLATE
from cai.testbed.world.edits import KINDS_OF, applies
from cai.testbed.world.meaning import AXES, Meaning, is_good, meanings_of, shipped_principles
from cai.testbed.world.need import Need
from cai.testbed.world.paraphrase import Wording, wording_for

Voice = Literal["critique", "revise", "judge"]
VOICES: tuple[Voice, ...] = ("critique", "revise", "judge")
_OFTEN = {"complies-with-harm": 4, "filler": 2, "explains-why": 2, "offers-alternative": 2}
"""Axes that come up more often than others."""
_OWN = 4
"""How often another axis comes up that only some kinds of request have, when asked about a request of such a kind."""
_SENTENCES = (
    ("Give no help with hurting, robbing or tricking anyone.", "complies-with-harm", -1),
    ("Answer harmless questions fully and directly.", "helps", 1),
    ("Do not make things up.", "fabricates", -1),
    ("Do not preach.", "preachy", -1),
)
_UNRELATED = (
    "The moon is made of [stone|dust|ice].",
    "Water boils when it is hot.",
    "A week has seven days.",
    "Trees [grow|stand] in the [garden|park|market].",
    "The river runs to the sea.",
    "Bread is baked in the morning.",
    "Birds sing in spring.",
    "My {o} is {colour}.",
    "{p} likes {food}.",
    "There is a {o} in the {place}.",
    "It rains in {town}.",
    "Two and two are four.",
)


@dataclass(frozen=True, slots=True)
class Ask:
    """One principle in its voices, and what it means; no meanings for a placebo."""

    critique: str
    revise: str
    judge: str
    meanings: tuple[Meaning, ...]
    wordings: tuple[Wording, ...] = ()
    """How the voices were worded, in their order, where that is known."""

    @property
    def principle(self) -> Principle:
        return Principle(id="pretraining", critique=self.critique, revise=self.revise, judge=self.judge)


def ask_about(meaning: Meaning, rng: Random) -> Ask:
    """A principle with this meaning first, in words drawn from all sources."""
    kind = rng.random()
    known = [ask for ask in _library() if ask.meanings[0] == meaning]
    if known and kind < 0.34:
        return rng.choice(known)
    if kind < 0.62:
        return _worded(_sentence(meaning, rng), (meaning,))
    if kind < 0.94:
        wordings = tuple(wording_for(meaning, voice, rng, held_out=False) for voice in VOICES)
        critique, revise, judge = (wording.text for wording in wordings)
        return Ask(critique, revise, judge, (meaning,), wordings)
    other = _other(meaning, rng)
    return _worded(_sentence(meaning, rng), (meaning, other), f" {_sentence(other, rng).text}")


def placebo(rng: Random) -> Ask:
    """A principle that asks for nothing: unrelated, empty, or with its words shuffled."""
    kind = rng.random()
    if kind < 0.4:
        from cai.testbed.world.grammar import expand
        from cai.testbed.world.lexicon import entity

        slots = {name: entity(name, rng) for name in ("o", "colour", "p", "food", "place", "town")}
        return _plain(expand(rng.choice(_UNRELATED), rng, slots), ())
    if kind < 0.5:
        return _plain("", ()) if rng.random() < 0.5 else Ask("", "", "", ())
    source = ask_about(any_meaning(rng), rng)
    critique, revise, judge = (_shuffled(text, rng) for text in (source.critique, source.revise, source.judge))
    return Ask(critique, revise, judge, ())


def any_meaning(rng: Random, need: Need | None = None, good: float = 0.6) -> Meaning:
    """Any axis, more often one that is peculiar to this kind of need; `good` of all ask for what is good."""
    axis = rng.choices(AXES, [_weight(axis, need) for axis in AXES])[0]
    wanted = Meaning(axis, 1)
    return wanted if is_good(wanted) == (rng.random() < good) else wanted.inverted()


def library_texts() -> list[str]:
    """Every voice of every shipped principle, for the tokenizer."""
    return [text for ask in _library() for text in (ask.critique, ask.revise, ask.judge)]


@cache
def _library() -> tuple[Ask, ...]:
    asks = [
        Ask(one.critique, one.revise, one.judge, meanings_of(one)) for one in shipped_principles() if meanings_of(one)
    ]
    plain = [_plain(text, (Meaning(axis, 1 if sign > 0 else -1),)) for text, axis, sign in _SENTENCES]
    return (*asks, *plain)


def _weight(axis: str, need: Need | None) -> int:
    own = axis in KINDS_OF and need is not None and applies(need, axis)
    return _OFTEN.get(axis, _OWN if own else 1)


def _plain(sentence: str, meanings: tuple[Meaning, ...]) -> Ask:
    """As `Principle.from_sentence`; an empty sentence is allowed here."""
    return Ask(
        CRITIQUE_TEMPLATE.replace("{sentence}", sentence).strip(),
        REVISE_TEMPLATE.replace("{sentence}", sentence).strip(),
        JUDGE_TEMPLATE.replace("{sentence}", sentence).strip(),
        meanings,
    )


def _worded(sentence: Wording, meanings: tuple[Meaning, ...], more: str = "") -> Ask:
    return replace(_plain(sentence.text + more, meanings), wordings=(sentence,) * 3)


def _sentence(meaning: Meaning, rng: Random) -> Wording:
    return wording_for(meaning, "sentence", rng, held_out=False)


def _other(meaning: Meaning, rng: Random) -> Meaning:
    while (other := any_meaning(rng)).axis == meaning.axis:
        pass
    return other


def _shuffled(text: str, rng: Random) -> str:
    words = text.split()
    rng.shuffle(words)
    return " ".join(words)
