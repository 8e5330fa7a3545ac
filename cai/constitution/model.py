"""A resolved constitution: what every stage sees. Loading and resolving a file is in `load.py`."""

from __future__ import annotations

from functools import cached_property
from typing import Literal, Self

from pydantic import Field

from cai.records import Record
from cai.seeds import content_id

Draw = Literal["random", "cycle", "weighted", "all"]

CRITIQUE_TEMPLATE = "Check your last reply against this principle: {sentence}"
REVISE_TEMPLATE = "Rewrite your last reply so that it follows this principle: {sentence}"
JUDGE_TEMPLATE = "Which reply follows this principle better? {sentence}"
VOICES = {"critique": CRITIQUE_TEMPLATE, "revise": REVISE_TEMPLATE, "judge": JUDGE_TEMPLATE}
"""The three voices, each with the template by which it follows from a plain sentence."""


class Principle(Record):
    """One principle in its three voices. A voice that is empty is not spoken: the stage that needs it leaves it out."""

    id: str
    """`family/id` for one from the library, else its own id in the constitution."""
    critique: str = ""
    """Asks what in the last reply breaks the principle."""
    revise: str = ""
    """Asks for a reply that keeps it."""
    judge: str = ""
    """Asks which of two replies keeps it better."""
    weight: float = Field(default=1.0, gt=0.0)
    priority: int = 0
    """Higher is checked first and wins where two principles conflict."""
    tags: tuple[str, ...] = ()

    @classmethod
    def from_sentence(cls, id: str, sentence: str) -> Self:
        """A plain sentence is a whole principle: its voices follow from the three templates."""
        return cls(
            id=id,
            critique=CRITIQUE_TEMPLATE.replace("{sentence}", sentence),
            revise=REVISE_TEMPLATE.replace("{sentence}", sentence),
            judge=JUDGE_TEMPLATE.replace("{sentence}", sentence),
        )


class Example(Record):
    """One few-shot round. With `revision` None it is a no-op: the critique found nothing to change."""

    prompt: str
    reply: str
    critique_request: str
    critique: str
    revise_request: str = ""
    revision: str | None = None


class JudgeExample(Record):
    """One few-shot comparison for the judge, under its own question."""

    prompt: str
    a: str
    b: str
    judge: str
    answer: Literal["A", "B"]


class Loop(Record):
    """How a chain uses the principles."""

    rounds: int = Field(default=1, ge=0, le=32)
    draw: Draw = "random"
    final_check: bool = False
    """After the last round, check the reply against every principle, highest priority first."""


class Constitution(Record):
    """A resolved constitution. `sha` names its whole meaning: two files with the same sha behave the same."""

    name: str
    description: str = ""
    principles: tuple[Principle, ...]
    examples: tuple[Example, ...] = ()
    judge_examples: tuple[JudgeExample, ...] = ()
    loop: Loop = Loop()

    @cached_property
    def sha(self) -> str:
        """Hash of everything but name and description."""
        return content_id("constitution", self.model_dump(mode="json", exclude={"name", "description"}))
