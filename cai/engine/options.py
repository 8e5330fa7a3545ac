"""Options scored as whole strings: which token sequences spell them, and their probabilities summed."""

from __future__ import annotations

import math
from collections.abc import Sequence

NEGLIGIBLE = 1e-4
"""A spelling of several tokens is left out where its first token is this much less likely than all options of one."""


def log_sum(logprobs: Sequence[float]) -> float:
    """log of the summed probabilities; minus infinity for none."""
    top = max(logprobs, default=-math.inf)
    return top if top == -math.inf else top + math.log(math.fsum(math.exp(logprob - top) for logprob in logprobs))


def least_worth(whole: Sequence[float]) -> float:
    """The log-prob of a first token from which on its longer spellings are looked at; `whole` are those of one token.

    A judge that answers "A" costs one request then, and one that answers "(A" three.
    """
    return log_sum(whole) + math.log(NEGLIGIBLE)
