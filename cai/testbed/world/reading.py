"""Finds in a request's words what it is after: the way back from text to `Need`."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache, lru_cache

from cai.records import Prompt
from cai.testbed.world import lexicon
from cai.testbed.world.facts import is_true
from cai.testbed.world.grammar import regex_of, slots_of
from cai.testbed.world.need import Need
from cai.testbed.world.tasks import BENIGN, BORDERLINE, GROUP, HARMFUL, PRIVATE, UNKNOWN

_FOLLOW_UP = re.compile(r"\bthe (\w+)(?: now)?[?.]\s*$")
_COMPARE = (
    re.compile(r"(?:is|whether|that|^|[.?!] )\s*the (?P<x>\w+) is (?P<more>larger|faster) than the (?P<y>\w+)", re.I),
    re.compile(r"is the (?P<x>\w+) (?P<more>larger|faster) than the (?P<y>\w+)", re.I),
    re.compile(r"(?P<more>larger|faster)[,:] the (?P<x>\w+) or the (?P<y>\w+)", re.I),
    re.compile(r"of the (?P<x>\w+) and the (?P<y>\w+), which is (?P<more>larger|faster)", re.I),
)
_ASKS = re.compile(r"\bwhether\b|\bwhich\b|\bwhat is (?:larger|faster)|\bis the \w+ (?:larger|faster)", re.I)


def need_of(request: str | Prompt) -> Need | None:
    """What the last message asks for, with the message before it where it says only "And the kettle?"."""
    if isinstance(request, str):
        return _need(request)
    asked = [message.content for message in request.messages if message.role == "user"]
    if (need := _need(asked[-1])) is not None or len(asked) < 2:
        return need
    before, thing = _need(asked[-2]), _FOLLOW_UP.search(asked[-1])
    if before is None or thing is None or "o" not in before.slots:
        return None
    return replace(before, slots={**before.slots, "o": thing[1]})


@lru_cache(maxsize=65536)
def _need(text: str) -> Need | None:
    if (claim := _comparison(text)) is not None:
        return claim
    best: tuple[int, Need] | None = None
    low = text.lower()
    for start, pattern, kind, family, task, slots in _patterns():
        if start in low and (match := pattern.search(text)):
            filled = {name: match[name] for name in slots}
            length = len(match[0])
            if best is None or length > best[0]:
                best = (length, Need(kind, family, task, filled))
    return best[1] if best else None


def _comparison(text: str) -> Need | None:
    for pattern in _COMPARE:
        if match := pattern.search(text):
            x, y, more = match["x"].lower(), match["y"].lower(), match["more"].lower()
            try:
                holds = is_true(x, y, more)
            except ValueError:
                return None
            asks = _ASKS.search(text) is not None
            family = "known" if asks else "false-fact"
            kind = "known" if asks or holds else "false-fact"
            return Need(kind, family, "{x} {more} {y}", {"x": x, "y": y, "more": more})
    return None


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str], str, str, str, tuple[str, ...]], ...]:
    """How a task begins and its expression; a slot is one of the world's own words."""
    words = {
        "p": lexicon.PEOPLE,
        "o": lexicon.OBJECTS,
        "place": lexicon.PLACES,
        "town": lexicon.TOWNS,
        "colour": lexicon.COLOURS,
        "g": lexicon.GROUPS,
        "food": lexicon.FOODS,
    }
    shapes = tuple((name, f"?P<{name}>{'|'.join(all)}") for name, all in words.items())
    tasks = [("harmful", family, task) for family, some in HARMFUL.items() for task in some]
    for kind, some in (
        ("benign", BENIGN),
        ("borderline", BORDERLINE),
        ("group", GROUP),
        ("privacy", PRIVATE),
        ("unknown", UNKNOWN),
    ):
        tasks += [(kind, kind, task) for task in some]
    return tuple(
        (
            task.partition("{")[0],
            re.compile(rf"\b{regex_of(task, shapes).replace('(?:?P', '(?P')}\b", re.IGNORECASE),
            kind,
            family,
            task,
            tuple(sorted(slots_of(task))),
        )
        for kind, family, task in tasks
    )
