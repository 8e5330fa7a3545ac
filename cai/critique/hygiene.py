"""Noise in replies that must not become training data, found in the text alone; each kind has a name.

What a weak model does when it is asked for a new reply: it announces one, repeats the critique, speaks for the other
side, runs into a loop. Left in, it is what the trained model learns best.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

from cai.critique.prompts import read_critique

PROBLEMS = {
    "empty": "nothing but space",
    "truncated": "cut off at the token limit",
    "role_confusion": "speaks for the user, or answers the request to criticise or revise in place of the user",
    "preamble": 'announces itself: "Sure, here is a revised response"',
    "critique_echo": "repeats the critique",
    "loop": "repeats a closing phrase, an emoji or a character",
    "repetition": "repeats the same words over and over",
    "identical": "left as it was although the critique found a problem",
}
"""Every problem and what it means, the worst first: the first one found is the reason of a drop."""

_PREAMBLE = re.compile(
    r"\W*(?:(?:sure|certainly|of course|okay|ok|absolutely|yes|great|understood|thank you)\b"
    r"[^\n:]{0,40}?[\s,.!:]+){0,2}"
    r"(?:here(?:['’]s| is| are)|this is|below is|i(?:['’]ve| have))\b[^\n:]{0,60}?"
    r"\b(?:revis\w+|rewr\w+|updated|improved|edited|corrected|new (?:reply|response|version|answer))\b",
    re.I,
)
_OPENS_AS_CRITIQUE = re.compile(
    r"\W*(?:critique\b|revision request|the (?:assistant|model)(?:['’]s)? (?:last |previous )?(?:reply|response)\b"
    r"|(?:my|the) (?:last|previous|original) (?:reply|response|answer)\b)",
    re.I,
)
_OPENS_AS_REVISION = re.compile(r"\W*(?:revision|revised (?:reply|response|answer))\s*:", re.I)
_OTHER_SPEAKER = re.compile(
    r"^[ \t]*(?:human|user|assistant|system)\s*:|<\|(?:im_start|user|assistant|system)", re.I | re.M
)
_CLOSERS = (
    "let me know if",
    "i hope this helps",
    "i hope that helps",
    "feel free to",
    "have a great day",
    "have a nice day",
    "have a wonderful day",
    "is there anything else",
    "happy to help",
    "good luck",
    "take care",
)
_RUN = re.compile(r"(\S)\1{7,}")
_HALF_RUN = re.compile(r"(\S)\1{3}")
"""What a run of eight leaves in every second character of a text: sought first, in half the time."""
_EMOJI = re.compile("[\u2600-\u27bf\U0001f000-\U0001faff]")
MOST_CLOSERS = 2
MOST_EMOJI = 8
MOST_LETTERS, MOST_RULES = 19, 119
"""Most times a letter or digit, or a character that rules are drawn with, may stand in a row; others at most 7."""
SHORTEST_ECHO = 6
"""Words of a critique that is long enough to recognise."""


def reply_problems(reply: str, *, before: str | None = None, critique: str = "") -> tuple[str, ...]:
    """Problems of one reply. For a revision, `before` is the reply it revises and `critique` what was said of it."""
    if not reply.strip():
        return ("empty",)
    found: list[str] = []
    if _speaks_for_another(reply):
        found.append("role_confusion")
    if before is not None:
        if not found and (_OPENS_AS_CRITIQUE.match(reply) or read_critique(reply) is False):
            found.append("role_confusion")
        if _PREAMBLE.match(reply):
            found.append("preamble")
        if _echoes(reply, critique, before):
            found.append("critique_echo")
    if _loops(reply):
        found.append("loop")
    if _repeats(reply):
        found.append("repetition")
    return tuple(found)


def critique_problems(critique: str, reply: str) -> tuple[str, ...]:
    """Problems of a critique: a speaker it should not be, a reply in its place."""
    confused = bool(
        _speaks_for_another(critique)
        or _OPENS_AS_REVISION.match(critique)
        or _PREAMBLE.match(critique)
        or critique.strip() == reply.strip()
    )
    return ("role_confusion",) if confused else ()


def worst(problems: tuple[str, ...]) -> str | None:
    """The one problem to name as the reason, `None` without any."""
    return next((name for name in PROBLEMS if name in problems), None)


def _speaks_for_another(text: str) -> bool:
    return (":" in text or "<|" in text) and _OTHER_SPEAKER.search(text) is not None


def _echoes(reply: str, critique: str, before: str) -> bool:
    """Whether most four-word runs of the critique stand in the reply and did not stand in the reply before."""
    if len(critique.split()) < SHORTEST_ECHO:
        return False
    fresh = _word_runs(critique) - _word_runs(before)
    return len(fresh) >= 3 and len(fresh & _word_runs(reply)) > len(fresh) / 2


def _loops(reply: str) -> bool:
    lower = reply.lower()
    return (
        sum(lower.count(closer) for closer in _CLOSERS) > MOST_CLOSERS
        or (_HALF_RUN.search(reply[::2]) is not None and any(_too_long(run.group()) for run in _RUN.finditer(reply)))
        or (not reply.isascii() and len(_EMOJI.findall(reply)) > MOST_EMOJI)
    )


def _too_long(run: str) -> bool:
    """Whether one character follows itself more often than it may."""
    if run[0] in "._-=*#":
        return len(run) > MOST_RULES
    return not run[0].isalnum() or len(run) > MOST_LETTERS


def _repeats(reply: str) -> bool:
    """Whether more than half of the four-word runs are repeats, or one word makes up most of the text."""
    words = reply.lower().split()
    if len(words) < 12:
        return False
    if len(_word_runs(reply)) < (len(words) - 3) / 2:
        return True
    few = len(set(words)) < 0.5 * len(words)
    return few and Counter(words).most_common(1)[0][1] > 0.6 * len(words)


@lru_cache(maxsize=1024)
def _word_runs(text: str) -> frozenset[tuple[str, ...]]:
    """Every run of four words. A reply is looked at when it is written and again when it is revised."""
    words = text.lower().split()
    return frozenset(zip(words, words[1:], words[2:], words[3:], strict=False))
