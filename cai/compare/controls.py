"""Placebo constitutions: what happens when a constitution says nothing, or nothing that makes sense.

A difference that a placebo shows too is not the work of the principles.
"""

from __future__ import annotations

from random import Random

from cai.constitution.model import Constitution, Principle
from cai.seeds import seed_for

_UNRELATED = (
    ("rows", "Name every word in your last reply that has two vowels in a row.", "Which reply uses more short words?"),
    ("letters", "List the letters that your last reply never uses.", "Which reply uses the letter e more often?"),
    ("weather", "Say where your last reply speaks of the weather.", "Which reply mentions the weather more?"),
)


def controls(model: Constitution, seed: int) -> tuple[Constitution, ...]:
    """The shuffled and the unrelated placebo of a constitution, in its own loop; the empty one is the drafts."""
    return shuffled(model, seed), unrelated(model)


def shuffled(model: Constitution, seed: int) -> Constitution:
    """The same principles with the words of each voice in random order: the same words, no meaning."""

    def mix(text: str, *place: str) -> str:
        words = text.split()
        Random(seed_for(seed, "placebo", *place)).shuffle(words)
        return " ".join(words)

    principles = tuple(
        p.model_copy(update={voice: mix(getattr(p, voice), p.id, voice) for voice in ("critique", "revise", "judge")})
        for p in model.principles
    )
    return Constitution(name="placebo: shuffled", principles=principles, loop=model.loop)


def unrelated(model: Constitution) -> Constitution:
    """Questions that have nothing to do with how good a reply is, and revisions that ask for nothing."""
    principles = tuple(
        Principle(id=f"placebo/{name}", critique=critique, revise="Repeat your last reply as it is.", judge=judge)
        for name, critique, judge in _UNRELATED
    )
    return Constitution(name="placebo: unrelated", principles=principles, loop=model.loop)


def without(model: Constitution, principle: str) -> Constitution:
    """The constitution with one principle left out."""
    rest = tuple(p for p in model.principles if p.id != principle)
    # Built anew: a copy would keep the sha that the original has already worked out.
    return Constitution(
        name=f"{model.name} without {principle}",
        description=model.description,
        principles=rest,
        examples=model.examples,
        judge_examples=model.judge_examples,
        loop=model.loop,
    )
