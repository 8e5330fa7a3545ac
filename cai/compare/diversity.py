"""How varied a side's replies are: distinct n-grams, and how alike two replies to different prompts are."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from cai.compare.outcomes import Outcome, shingle_overlap
from cai.constitution.words import words_of
from cai.records import Record
from cai.seeds import seed_for

GROUPS = 20
"""Groups of prompts that the jackknife leaves out one at a time."""
MOST_PAIRS = 2000
SELF_SIMILARITY = Outcome("self-similarity", "share", "neither", lambda chain: None)


class Distinct(Record):
    """Share of a side's n-grams that are different ones, with a delete-a-group jackknife interval.

    It falls with the amount of text, so only sides over the same prompts may be compared.
    """

    side: str
    n: int
    value: float
    low: float
    high: float


def distinct(side: str, replies: Sequence[str], n: int) -> Distinct:
    """Different n-grams by all n-grams; replies are dealt to `GROUPS` groups in turn."""
    from scipy import stats

    groups = min(GROUPS, max(2, len(replies)))
    totals, homes = [0] * groups, dict[tuple[str, ...], int]()
    for index, reply in enumerate(replies):
        words = words_of(reply)
        for start in range(len(words) - n + 1):
            gram = tuple(words[start : start + n])
            totals[index % groups] += 1
            homes[gram] = homes.get(gram, 0) | (1 << (index % groups))
    total, types = sum(totals), len(homes)
    alone = [0] * groups
    for mask in homes.values():
        if mask & (mask - 1) == 0:
            alone[mask.bit_length() - 1] += 1
    value = types / total if total else 0.0
    left = [(types - alone[g]) / (total - totals[g]) for g in range(groups) if total > totals[g]]
    mean = sum(left) / len(left) if left else 0.0
    error = ((groups - 1) / groups * sum((x - mean) ** 2 for x in left)) ** 0.5 if len(left) > 1 else 0.0
    half = float(stats.t.ppf(0.975, groups - 1)) * error
    return Distinct(side=side, n=n, value=value, low=max(0.0, value - half), high=min(1.0, value + half))


def partners(count: int, seed: int) -> list[tuple[int, int]]:
    """Which replies are held against which: the same draw for every side, each reply once."""
    order = list(range(count))
    Random(seed_for(seed, "partners")).shuffle(order)
    return list(zip(order[::2], order[1::2], strict=False))[:MOST_PAIRS]


def similarities(replies: Sequence[str], pairs: Sequence[tuple[int, int]]) -> list[float]:
    """Overlap of two-word runs of each pair."""
    return [shingle_overlap(replies[x], replies[y]) for x, y in pairs]
