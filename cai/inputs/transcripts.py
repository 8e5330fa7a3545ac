"""HH-RLHF transcripts: one string, its turns opened by `\\n\\nHuman:` and `\\n\\nAssistant:`."""

from __future__ import annotations

import re

from cai.records import Message, Role

_TURN = re.compile(r"\r?\n\r?\n(Human|Assistant):")
_OPENING = re.compile(r"\s*Human:")
_ROLES: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}


def is_transcript(text: str) -> bool:
    """Whether the text opens as a transcript does: a person's turn at its very start and a mark of a turn in it."""
    return _OPENING.match(text) is not None and (text.startswith("\n\n") or _TURN.search(text) is not None)


def read_transcript(text: str) -> tuple[Message, ...]:
    """The turns in order, each without the one space after its mark and otherwise untouched.

    Only a mark at the start of a paragraph opens a turn, so a text keeps its colons and a "Human:" within a line.
    """
    parts = _TURN.split("\n\n" + text.lstrip())
    return tuple(
        Message(role=_ROLES[name], content=content.removeprefix(" "))
        for name, content in zip(parts[1::2], parts[2::2], strict=True)
    )
