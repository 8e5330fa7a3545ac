"""What the model is asked at each step of a chain, and how its answers are read.

A round is four turns after the conversation: the reply, our critique request, the critique, our revision request. The
next round starts again from the conversation with the new reply in place of the old one, so the context never grows.
What is shared comes first (the constitution's few-shots, then the conversation), so an engine's prefix cache holds it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cai.constitution.model import Example, Principle
from cai.engine.protocol import Turn
from cai.records import Prompt

NO_CHANGE = "No change needed."
CRITIQUE_ASK = "{critique}\nIf nothing breaks it, answer only: " + NO_CHANGE
REVISE_ASK = "{revise}\nAnswer with the new reply only."

_NO_CHANGE = re.compile(
    r"^\W*no (?:change|changes|critique|revision|revisions)(?: (?:is|are))? (?:needed|necessary|required)\b", re.I
)


def ask_critique(principle: Principle) -> str:
    """The critique request of one principle."""
    return CRITIQUE_ASK.replace("{critique}", principle.critique)


def ask_revise(principle: Principle) -> str:
    """The revision request of one principle."""
    return REVISE_ASK.replace("{revise}", principle.revise)


def draft_turns(prompt: Prompt) -> tuple[Turn, ...]:
    """The conversation as it is: a draft is what the model says unasked, without few-shots."""
    return tuple(Turn.of(message) for message in prompt.messages)


def example_turns(examples: Sequence[Example]) -> tuple[Turn, ...]:
    """The constitution's few-shots as earlier turns of the same chat, each a whole round."""
    turns: list[Turn] = []
    for example in examples:
        turns.append(Turn("user", example.prompt, trusted=True))
        turns.append(Turn("assistant", example.reply, trusted=True))
        turns.append(Turn("user", CRITIQUE_ASK.replace("{critique}", example.critique_request), trusted=True))
        turns.append(Turn("assistant", example.critique, trusted=True))
        if example.revision is not None:
            turns.append(Turn("user", REVISE_ASK.replace("{revise}", example.revise_request), trusted=True))
            turns.append(Turn("assistant", example.revision, trusted=True))
    return tuple(turns)


def critique_turns(
    prompt: Prompt, reply: Turn, principle: Principle, examples: Sequence[Example] = ()
) -> tuple[Turn, ...]:
    """Few-shots, conversation, the reply under review, and the critique request."""
    return (
        *example_turns(examples),
        *draft_turns(prompt),
        reply,
        Turn("user", ask_critique(principle), trusted=True),
    )


def revise_turns(asked: tuple[Turn, ...], critique: Turn, principle: Principle) -> tuple[Turn, ...]:
    """The turns of the critique call, its answer, and the revision request: a strict extension of the same prefix."""
    return (*asked, critique, Turn("user", ask_revise(principle), trusted=True))


def read_critique(text: str) -> bool | None:
    """Whether the critique found a problem; `None` where there is nothing to read."""
    if not text.strip():
        return None
    return _NO_CHANGE.match(text) is None


def read_revision(text: str) -> str | None:
    """The new reply without surrounding space; `None` where it is empty."""
    return text.strip() or None
