"""How varied a side's replies are: distinct n-grams, and how alike two replies to different prompts are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from random import Random

from cai.compare.outcomes import Outcome, run_overlap
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


def distinct(side: str, replies: Sequence[Sequence[str]], n: int) -> Distinct:
    """Different n-grams by all n-grams of replies in words; replies are dealt to `GROUPS` groups in turn."""
    import numpy as np
    from scipy import stats

    groups = min(GROUPS, max(2, len(replies)))
    flat = list(chain.from_iterable(replies))
    numbers = {word: number for number, word in enumerate(dict.fromkeys(flat))}
    flat_N = np.fromiter(map(numbers.__getitem__, flat), dtype=np.int64, count=len(flat))
    sizes_R = np.fromiter(map(len, replies), dtype=np.int64, count=len(replies))
    ends_N = np.repeat(np.cumsum(sizes_R), sizes_R)
    starts_G = np.flatnonzero(np.arange(len(flat_N)) + n <= ends_N)
    group_G = np.repeat(np.arange(len(replies)) % groups, sizes_R)[starts_G]
    gram_G = np.zeros(len(starts_G), dtype=np.int64)
    for place in range(n):  # renumbered at each word, so that no product of vocabularies overflows
        gram_G = np.unique(gram_G * (len(numbers) + 1) + flat_N[starts_G + place], return_inverse=True)[1]
    # A gram that occurs in one group only is lost with that group.
    pairs_P = np.unique(gram_G * groups + group_G)
    homes_T = np.bincount(pairs_P // groups)
    alone = np.bincount((pairs_P % groups)[homes_T[pairs_P // groups] == 1], minlength=groups).tolist()
    totals = np.bincount(group_G, minlength=groups).tolist()
    total, types = len(gram_G), len(homes_T)
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


def similarities(replies: Sequence[Sequence[str]], pairs: Sequence[tuple[int, int]]) -> list[float]:
    """Overlap of two-word runs of each pair of replies in words."""
    return [run_overlap(replies[x], replies[y]) for x, y in pairs]
