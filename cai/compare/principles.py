"""What each principle did, and which principles say the same or the opposite."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from cai.compare.sides import Paired, Side
from cai.measures.intervals import cohen_kappa, holm, wilson
from cai.records import Label, Record

LEAST_PAIRS = 20
CONFLICT, SAME = 0.5, 0.1


class Rate(Record):
    """A share of `n` steps with its 95 % Wilson interval."""

    count: int
    n: int
    low: float
    high: float

    @classmethod
    def of(cls, count: int, n: int) -> Rate:
        low, high = wilson(count, n)
        return cls(count=count, n=n, low=low, high=high)

    @property
    def value(self) -> float:
        return self.count / self.n if self.n else 0.0


class PrincipleRates(Record):
    """How often a principle was asked about, found a problem and changed the reply, of a side's records."""

    side: str
    principle: str
    fired: Rate
    """Chains with at least one step under it, of all chains."""
    violated: Rate
    """Steps that found a problem, of its steps."""
    changed: Rate
    """Steps that changed the reply, of its steps."""
    unread: int


class Two(Record):
    """Two principles as judges of the same pairs of replies, where both have a preference."""

    judge: str
    """Whose principles they are: the constitution's name."""
    x: str
    y: str
    n: int
    disagreement: float
    low: float
    high: float
    kappa: float | None
    p_holm: float
    """That they disagree in half of the pairs or less, corrected for the number of pairs of principles."""
    verdict: str
    """`conflict` where they name different replies in more than half of the pairs, the interval above one half and the
    corrected p-value below 0.05; `redundant` where the interval of the disagreement lies below 10 %; else empty."""


@dataclass
class _Count:
    chains: int = 0
    steps: int = 0
    violated: int = 0
    changed: int = 0
    unread: int = 0


def rates(paired: Paired, side: Side) -> list[PrincipleRates]:
    """Rates of one side's principles over the paired prompts, the one that changed most first."""
    chains, counts = paired.chains(side), dict[str, _Count]()
    for chain in chains:
        for principle in {step.principle for step in chain.steps}:
            counts.setdefault(principle, _Count()).chains += 1
        for step in chain.steps:
            count = counts[step.principle]
            count.steps += 1
            count.violated += step.violated is True
            count.changed += step.changed
            count.unread += step.violated is None
    found = [
        PrincipleRates(
            side=side.name,
            principle=name,
            fired=Rate.of(c.chains, len(chains)),
            violated=Rate.of(c.violated, c.steps),
            changed=Rate.of(c.changed, c.steps),
            unread=c.unread,
        )
        for name, c in counts.items()
    ]
    return sorted(found, key=lambda r: (-r.changed.count, r.principle))


def votes(labels: Iterable[Label]) -> dict[str, dict[str, float]]:
    """Each principle's word on each comparison, as probability of its first reply; one whose orders differ is a tie."""
    found: dict[str, dict[str, float]] = {}
    for label in labels:
        for comparison in label.comparisons:
            by: dict[tuple[str, str], list[float | None]] = {}
            for vote in comparison.votes:
                by.setdefault((vote.principle, vote.judge), []).append(vote.p_a)
            for (principle, judge), ps in by.items():
                item = f"{label.prompt.id} {comparison.a} {comparison.b} {judge}"
                p = agreed(ps)
                if p is not None:
                    found.setdefault(principle, {})[item] = p
    return found


def agreed(ps: Sequence[float | None]) -> float | None:
    """The mean over the orders, 0.5 where they name different replies, None where one is missing."""
    known = [p for p in ps if p is not None]
    if not known or len(known) < len(ps):
        return None
    if min(known) < 0.5 < max(known):
        return 0.5
    return sum(known) / len(known)


def overlaps(judge: str, said: dict[str, dict[str, float]]) -> list[Two]:
    """Every two principles that judged at least `LEAST_PAIRS` pairs of replies with a preference each."""
    from scipy import stats

    raw: list[tuple[str, str, int, int, float]] = []
    for x, y in combinations(sorted(said), 2):
        shared = [i for i in said[x].keys() & said[y].keys() if said[x][i] != 0.5 and said[y][i] != 0.5]
        if len(shared) < LEAST_PAIRS:
            continue
        named_x, named_y = ([str(said[r][i] > 0.5) for i in shared] for r in (x, y))
        apart = sum(p != q for p, q in zip(named_x, named_y, strict=True))
        raw.append((x, y, apart, len(shared), cohen_kappa(named_x, named_y)))
    ps = holm([float(stats.binomtest(apart, n, CONFLICT, "greater").pvalue) for _, _, apart, n, _ in raw])
    found = [_two(judge, *entry, p) for entry, p in zip(raw, ps, strict=True)]
    return sorted(found, key=lambda two: -two.disagreement)


def _two(judge: str, x: str, y: str, apart: int, n: int, kappa: float, p: float) -> Two:
    low, high = wilson(apart, n)
    verdict = "conflict" if low > CONFLICT and p < 0.05 else "redundant" if high < SAME else ""
    return Two(
        judge=judge, x=x, y=y, n=n, disagreement=apart / n, low=low, high=high,
        kappa=None if kappa != kappa else kappa, p_holm=p, verdict=verdict,
    )  # fmt: skip
