"""Can these labels be trusted? Measures of one run's verdicts and pairs, and plain flags where they cannot."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean, median

from cai.config.label import Plan
from cai.judge.agreement import Agreement, Collected, agreement
from cai.judge.combine import by_judge_and_principle, flips, over_orders
from cai.judge.pairs import exported
from cai.judge.ranking import entropy
from cai.judge.wording import boilerplate
from cai.measures.intervals import wilson
from cai.measures.refusal import refuses
from cai.records import Comparison, Label, Record, Usage, Verdict

MOST_ITEMS = 20_000
"""Comparisons kept for the agreement between judges and between principles; the first of the run."""
LOW_MASS, MOST_FLIPS, MOST_CANARIES = 0.5, 0.4, 0.02
FEW, ONE_LETTER = 10, 0.9


class Share(Record):
    """A share of `n` with its 95 % Wilson interval; None where n is 0."""

    value: float | None
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, count: float, n: int) -> Share:
        low, high = wilson(round(count), n)
        return cls(value=count / n if n else None, low=low, high=high, n=n)


class Position(Record):
    """How often verdicts under one principle name the reply shown first."""

    first: Share
    flips: Share


class Diagnostics(Record):
    """All measures of a run's labels. Shares and probabilities are fractions; lengths are in characters."""

    prompts: int
    one_reply: int
    left_out: dict[str, int]
    """Replies that were not judged, by reason: empty, truncated, identical."""
    comparisons: int
    unread_comparisons: int
    pairs: int
    verdicts: int
    unread: Share
    half_read: int
    """Judge-and-principle votes left out because one of their orders was unread."""
    cannot_tell: Share
    ties: Share
    mass_median: float | None
    mass_low: Share
    """Verdicts whose two options together hold less than half of the probability."""
    flips: Share
    first: Share
    """Verdicts that name the reply shown first: 0.5 without position bias."""
    longer: Share
    """Pairs of different length whose longer reply was chosen."""
    earlier: Share
    """Comparisons whose reply a, drawn first, was chosen: 0.5 where the order of drawing means nothing."""
    entropy: float | None
    """Mean entropy of the labels in bits: 1 says nothing, 0 is certain."""
    length_delta: float | None
    boilerplate_delta: float | None
    refusal_delta: float | None
    """Mean of chosen minus rejected."""
    canaries: Share
    """Canaries preferred to a real reply."""
    by_principle: dict[str, Position]
    judges: Agreement
    principles: Agreement
    """Whether two principles say the same about a pair: needs `principles: all`."""
    calls_per_1000: float | None
    prompt_tokens_per_1000: float | None
    cached_tokens_per_1000: float | None
    completion_tokens_per_1000: float | None
    money_per_1000: float | None
    """Cost of a thousand comparisons, canaries and repeated questions included, sampling not."""
    flags: tuple[str, ...]
    """Plain sentences about what is wrong; empty where nothing is."""


@dataclass
class _Sums:
    """What one streaming pass adds up."""

    prompts: int = 0
    one_reply: int = 0
    left_out: Counter[str] = field(default_factory=Counter[str])
    comparisons: int = 0
    unread_comparisons: int = 0
    half_read: int = 0
    verdicts: Counter[str] = field(default_factory=Counter[str])
    masses: list[float] = field(default_factory=list[float])
    first: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict[str, list[float]](list))
    flipped: defaultdict[str, list[bool]] = field(default_factory=lambda: defaultdict[str, list[bool]](list))
    earlier: list[float] = field(default_factory=list[float])
    entropies: list[float] = field(default_factory=list[float])
    longer: list[bool] = field(default_factory=list[bool])
    deltas: list[tuple[int, int, int]] = field(default_factory=list[tuple[int, int, int]])
    canaries: list[bool] = field(default_factory=list[bool])
    collected: Collected = field(default_factory=lambda: Collected(MOST_ITEMS))
    usage: Usage = field(default_factory=Usage)

    def add(self, label: Label, plan: Plan, min_margin: float) -> None:
        self.prompts += 1
        self.one_reply += "one_reply" in label.flags
        self.left_out.update(label.left_out)
        self.usage += label.usage
        for comparison in label.comparisons:
            self._add_comparison(comparison)
            self.collected.add(f"{label.prompt.id} {comparison.a} {comparison.b}", comparison)
        for comparison in exported(label, plan, min_margin):
            self._add_pair(label, comparison)
        p = over_orders(label.canaries)
        if p is not None:
            self.canaries.append(p > 0.5)

    def _add_comparison(self, comparison: Comparison) -> None:
        self.comparisons += 1
        self.unread_comparisons += comparison.p_a is None
        if comparison.p_a is not None:
            self.earlier.append(_half(comparison.p_a))
        for vote in comparison.votes:
            self._add_vote(vote)
        for (_, principle), group in by_judge_and_principle(comparison.votes).items():
            read = [vote for vote in group if vote.p_a is not None]
            self.half_read += 0 < len(read) < len(group)
            if len(group) > 1 and len(read) == len(group):
                self.flipped[principle].append(flips(group))

    def _add_vote(self, vote: Verdict) -> None:
        self.verdicts["all"] += 1
        self.verdicts["unread"] += vote.p_a is None and not vote.cannot_tell
        self.verdicts["cannot tell"] += vote.cannot_tell
        self.verdicts["tie"] += vote.tie
        if vote.mass is not None:
            self.masses.append(vote.mass)
        if vote.p_a is not None and vote.mode != "score":
            self.first[vote.principle].append(_half(vote.p_a if vote.order == "ab" else 1.0 - vote.p_a))

    def _add_pair(self, label: Label, comparison: Comparison) -> None:
        p = comparison.p_a or 0.0
        chosen, rejected = label.replies[comparison.a], label.replies[comparison.b]
        if p < 0.5:
            chosen, rejected = rejected, chosen
        self.entropies.append(entropy(p))
        if p == 0.5:
            return
        if len(chosen) != len(rejected):
            self.longer.append(len(chosen) > len(rejected))
        self.deltas.append(
            (
                len(chosen) - len(rejected),
                boilerplate(chosen) - boilerplate(rejected),
                refuses(chosen) - refuses(rejected),
            )
        )


def diagnose(
    labels: Iterable[Label],
    *,
    plan: Plan = "all",
    min_margin: float = 0.0,
    max_unread: float = 0.02,
    prices: tuple[float, float] | None = None,
) -> Diagnostics:
    """One pass over a run's labels. `prices` is money for a million prompt tokens and a million completion tokens."""
    sums = _Sums()
    for label in labels:
        sums.add(label, plan, min_margin)
    n = sums.verdicts["all"]
    firsts = [x for xs in sums.first.values() for x in xs]
    flipped = [x for xs in sums.flipped.values() for x in xs]
    found = Diagnostics(
        prompts=sums.prompts,
        one_reply=sums.one_reply,
        left_out=dict(sorted(sums.left_out.items())),
        comparisons=sums.comparisons,
        unread_comparisons=sums.unread_comparisons,
        pairs=len(sums.entropies),
        verdicts=n,
        unread=Share.of(sums.verdicts["unread"], n),
        half_read=sums.half_read,
        cannot_tell=Share.of(sums.verdicts["cannot tell"], n),
        ties=Share.of(sums.verdicts["tie"], n),
        mass_median=median(sums.masses) if sums.masses else None,
        mass_low=Share.of(sum(mass < LOW_MASS for mass in sums.masses), len(sums.masses)),
        flips=Share.of(sum(flipped), len(flipped)),
        first=Share.of(sum(firsts), len(firsts)),
        longer=Share.of(sum(sums.longer), len(sums.longer)),
        earlier=Share.of(sum(sums.earlier), len(sums.earlier)),
        entropy=fmean(sums.entropies) if sums.entropies else None,
        length_delta=_mean_delta(sums, 0),
        boilerplate_delta=_mean_delta(sums, 1),
        refusal_delta=_mean_delta(sums, 2),
        canaries=Share.of(sum(sums.canaries), len(sums.canaries)),
        by_principle={name: _position(sums, name) for name in sorted(sums.first)},
        judges=agreement(sums.collected.judges),
        principles=agreement(sums.collected.principles),
        calls_per_1000=_per_1000(sums.usage.calls, sums),
        prompt_tokens_per_1000=_per_1000(sums.usage.prompt_tokens, sums),
        cached_tokens_per_1000=_per_1000(sums.usage.cached_tokens, sums),
        completion_tokens_per_1000=_per_1000(sums.usage.completion_tokens, sums),
        money_per_1000=None if prices is None else _per_1000(money(sums.usage, prices), sums),
        flags=(),
    )
    return found.model_copy(update={"flags": tuple(_flags(found, max_unread))})


def money(usage: Usage, prices: tuple[float, float]) -> float:
    """What so many tokens cost at prices per million."""
    return (usage.prompt_tokens * prices[0] + usage.completion_tokens * prices[1]) / 1e6


def _flags(found: Diagnostics, max_unread: float) -> Iterable[str]:
    if (found.unread.value or 0.0) > max_unread:
        yield f"{found.unread.value:.1%} of the judge's answers could not be read (more than {max_unread:.1%})"
    if found.mass_median is not None and found.mass_median < LOW_MASS:
        yield f"the options hold a median of only {found.mass_median:.0%} of the probability: it means another answer"
    if found.flips.n >= FEW and (found.flips.value or 0.0) > MOST_FLIPS:
        yield f"{found.flips.value:.0%} of the verdicts flip with the order of the replies"
    for name, position in found.by_principle.items():
        share = position.first.value
        if share is not None and position.first.n >= FEW and max(share, 1.0 - share) >= ONE_LETTER:
            place, often = ("first", share) if share > 0.5 else ("second", 1.0 - share)
            yield f"principle `{name}`: the reply shown {place} wins {often:.0%}; does the principle command an answer?"
    if found.canaries.n and (found.canaries.value or 0.0) > MOST_CANARIES:
        yield f"{found.canaries.value:.1%} of the canary replies (empty, `:`, boilerplate) beat a real reply"
    for two in (*found.principles.conflicts, *found.judges.conflicts):
        yield f"`{two.x}` and `{two.y}` contradict each other on {two.disagreement:.0%} of {two.n} comparisons"


def _position(sums: _Sums, name: str) -> Position:
    firsts, flipped = sums.first[name], sums.flipped[name]
    return Position(first=Share.of(sum(firsts), len(firsts)), flips=Share.of(sum(flipped), len(flipped)))


def _mean_delta(sums: _Sums, column: int) -> float | None:
    return fmean(delta[column] for delta in sums.deltas) if sums.deltas else None


def _per_1000(amount: float, sums: _Sums) -> float | None:
    return 1000.0 * amount / sums.comparisons if sums.comparisons else None


def _half(p: float) -> float:
    """1, 0 or, undecided, one half."""
    return 1.0 if p > 0.5 else 0.0 if p < 0.5 else 0.5
