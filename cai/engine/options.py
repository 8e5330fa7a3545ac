"""Options scored as whole strings: which token sequences spell them, and their probabilities summed."""

from __future__ import annotations

import math
from collections.abc import Sequence


def log_sum(logprobs: Sequence[float]) -> float:
    """log of the summed probabilities; minus infinity for none."""
    top = max(logprobs, default=-math.inf)
    return top if top == -math.inf else top + math.log(math.fsum(math.exp(logprob - top) for logprob in logprobs))
