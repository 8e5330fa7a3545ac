"""Does a reply say that its writer does not know? Read from its words, so coarse."""

from __future__ import annotations

import re

AGREEMENT = "a list of phrases that no people have checked; on the testbed its kappa with the oracle is 0.78"
"""Printed with every figure about it; `tests/measures/test_refusal.py` measures it anew."""

_ADMITS = re.compile(
    r"\bI (?:really |honestly |simply |just )?(?:do not|don't|cannot|can't|could not|couldn't) "
    r"(?:actually )?(?:know|tell|say for (?:sure|certain)|be (?:sure|certain)|find out)\b"
    r"|\bI (?:have no|do not have any|don't have any|do not have|don't have) "
    r"(?:idea|way of knowing|knowledge|information)\b"
    r"|\bI(?: am|'m) (?:not|un)\s?(?:sure|certain|aware)\b"
    r"|\bno one (?:knows|can know|can say)\b|\bnobody (?:knows|can know)\b"
    r"|\b(?:is|it's|are) (?:unknown|not known|impossible to (?:know|say|predict))\b"
    r"|\bthere is no (?:way to know|known answer|way of knowing)\b|\bbeyond what I know\b",
    re.I,
)


def admits_not_knowing(reply: str) -> bool:
    """Whether the reply says so somewhere."""
    return _ADMITS.search(reply.replace("’", "'")) is not None
