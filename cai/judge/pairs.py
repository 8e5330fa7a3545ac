"""From labels to preference pairs: which comparisons are exported, which reply is chosen, and the table's columns."""

# pyright: standard
# (pyarrow has no types)
from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from cai.config.label import Plan
from cai.judge.combine import by_judge_and_principle, flips
from cai.judge.ranking import entropy
from cai.records import Comparison, Label, Pair, Verdict

if TYPE_CHECKING:
    import pyarrow as pa


def exported(label: Label, plan: Plan, min_margin: float = 0.0) -> tuple[Comparison, ...]:
    """The read comparisons that become pairs: all that were made or, for best-worst, that of the two ends."""
    made = _ends(label) if plan == "best-worst" else label.comparisons
    return tuple(c for c in made if c.p_a is not None and abs(c.p_a - 0.5) >= min_margin)


def _ends(label: Label) -> tuple[Comparison, ...]:
    """The strongest reply against the weakest: the plan's last, or by strength where all pairs are known."""
    if len(label.comparisons) < 2 or label.strengths is None:
        return label.comparisons
    if label.comparisons[0].votes[0].mode not in ("score", "list"):
        return label.comparisons[-1:]
    strengths = label.strengths
    ranked = sorted(range(len(strengths)), key=lambda i: (-strengths[i], i))
    return tuple(c for c in label.comparisons if {c.a, c.b} == {ranked[0], ranked[-1]})


def pair_of(label: Label, comparison: Comparison) -> Pair:
    """The pair with the likelier reply as chosen; at exactly 0.5 that is reply a. Votes speak of chosen as a."""
    assert comparison.p_a is not None, "an unread comparison is no pair"
    a, b = label.replies[comparison.a], label.replies[comparison.b]
    kept = comparison.p_a >= 0.5
    return Pair(
        prompt=label.prompt,
        chosen=a if kept else b,
        rejected=b if kept else a,
        p_chosen=comparison.p_a if kept else 1.0 - comparison.p_a,
        votes=comparison.votes if kept else tuple(vote.swap() for vote in comparison.votes),
        provenance=label.provenance,
        constitution=label.constitution,
        seed=label.seed,
    )


def row(label: Label, comparison: Comparison) -> dict[str, Any]:
    """One row of pairs.parquet."""
    pair = pair_of(label, comparison)
    chosen, rejected = (comparison.a, comparison.b)
    if comparison.p_a is not None and comparison.p_a < 0.5:
        chosen, rejected = rejected, chosen
    masses = [vote.mass for vote in pair.votes if vote.mass is not None]
    return {
        "prompt": [{"role": m.role, "content": m.content} for m in pair.prompt.messages],
        "chosen": [{"role": "assistant", "content": pair.chosen}],
        "rejected": [{"role": "assistant", "content": pair.rejected}],
        "p_chosen": pair.p_chosen,
        "tie": pair.p_chosen == 0.5,
        "flipped": any(flips(group) for group in by_judge_and_principle(pair.votes).values()),
        "entropy": entropy(pair.p_chosen),
        "mass": min(masses) if masses else None,
        "strength_chosen": None if label.strengths is None else label.strengths[chosen],
        "strength_rejected": None if label.strengths is None else label.strengths[rejected],
        "reward_chosen": None if label.rewards is None else label.rewards[chosen],
        "reward_rejected": None if label.rewards is None else label.rewards[rejected],
        "principles": sorted({vote.principle for vote in pair.votes}),
        "votes": [_vote(vote) for vote in pair.votes],
        "prompt_id": pair.prompt.id,
        "category": pair.prompt.category,
        "source": pair.prompt.source,
        "provenance": pair.provenance,
        "policy": label.policy,
        "constitution": pair.constitution,
        "seed": pair.seed,
    }


def _vote(vote: Verdict) -> dict[str, Any]:
    """A verdict as the table has it; `p_chosen` speaks of the chosen reply, `first` names the reply shown first."""
    return {
        "principle": vote.principle,
        "judge": vote.judge,
        "mode": vote.mode,
        "first": "chosen" if vote.order == "ab" else "rejected",
        "p_chosen": vote.p_a,
        "mass": vote.mass,
        "tie": vote.tie,
        "cannot_tell": vote.cannot_tell,
        "raw": vote.raw,
    }


def rows(labels: Iterable[Label], plan: Plan, min_margin: float = 0.0) -> Iterator[dict[str, Any]]:
    """The rows of all exported pairs, in the order of the labels."""
    for label in labels:
        for comparison in exported(label, plan, min_margin):
            yield row(label, comparison)


def schema() -> pa.Schema:
    """Columns of pairs.parquet: TRL's conversational preference format with `p_chosen`, then diagnostics."""
    import pyarrow as pa

    messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    vote = pa.struct(
        [
            ("principle", pa.string()),
            ("judge", pa.string()),
            ("mode", pa.string()),
            ("first", pa.string()),
            ("p_chosen", pa.float64()),
            ("mass", pa.float64()),
            ("tie", pa.bool_()),
            ("cannot_tell", pa.bool_()),
            ("raw", pa.string()),
        ]
    )
    columns: list[tuple[str, pa.DataType]] = [
        ("prompt", messages),
        ("chosen", messages),
        ("rejected", messages),
        ("p_chosen", pa.float64()),
        ("tie", pa.bool_()),
        ("flipped", pa.bool_()),
        ("entropy", pa.float64()),
        ("mass", pa.float64()),
        ("strength_chosen", pa.float64()),
        ("strength_rejected", pa.float64()),
        ("reward_chosen", pa.float64()),
        ("reward_rejected", pa.float64()),
        ("principles", pa.list_(pa.string())),
        ("votes", pa.list_(vote)),
        ("prompt_id", pa.string()),
        ("category", pa.string()),
        ("source", pa.string()),
        ("provenance", pa.string()),
        ("policy", pa.string()),
        ("constitution", pa.string()),
        ("seed", pa.int64()),
    ]
    return pa.schema(columns)
