"""From replies to labels: put them before the judges and combine what they say into one record a prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from cai.config.label import Inconsistent, Panel, Plan, Principles
from cai.constitution.model import Principle
from cai.errors import RecordFault
from cai.judge.canaries import CANARIES, CANARY
from cai.judge.combine import combine
from cai.judge.draw import Draw, importance
from cai.judge.panel import Asking, Judge, ask_pair
from cai.judge.plan import run_plan
from cai.judge.ranking import bradley_terry
from cai.judge.whole import Asked, ask_lists, ask_scores
from cai.records import Comparison, Label, Prompt, Usage, Verdict
from cai.seeds import content_id, seed_for

Narrow = Callable[[Prompt, tuple[str, ...]], tuple[str, ...]]
"""Which of a prompt's different replies are judged, where there are more than two."""
SURE_CANARIES = 8
"""The first so many prompts of a run always meet a canary, so that every run measures some."""


class EqualReplies(RecordFault):
    """The two replies of a given pair are the same text: nothing can be preferred."""


@dataclass(frozen=True, slots=True)
class Task:
    """One prompt's distinct replies, the principles drawn for it, and whether a canary is judged too."""

    prompt: Prompt
    replies: tuple[str, ...]
    principles: tuple[Principle, ...]
    provenance: str
    policy: str = ""
    canary: bool = False
    left_out: Mapping[str, int] = field(default_factory=dict[str, int])
    """How many replies were left out before, by reason."""

    @property
    def key(self) -> str:
        """The record's id within a run, whose identity holds everything else it depends on."""
        return content_id("label", self.prompt.id, list(self.replies), [p.id for p in self.principles])


@dataclass(frozen=True, slots=True)
class Combining:
    """How verdicts become probabilities, and which replies meet."""

    constitution: str
    principles: Principles = "random"
    plan: Plan = "all"
    panel: Panel = "mean"
    weights: Mapping[str, float] | None = None
    inconsistent: Inconsistent = "average"

    def p_a(self, votes: Sequence[Verdict], principles: Sequence[Principle]) -> float | None:
        """The probability that reply a is better."""
        weight = {principle.id: importance(principle, self.principles) for principle in principles}
        return combine(votes, weight, panel=self.panel, weights=self.weights, inconsistent=self.inconsistent)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Replies that await a judge, wherever they come from."""

    prompt: Prompt
    replies: tuple[str, ...]
    provenance: str
    policy: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict[str, int])


def tasks(
    candidates: Iterable[Candidates], draw: Draw, *, canaries: float, run_seed: int, narrow: Narrow | None = None
) -> Iterator[Task]:
    """A task per candidate set, in order: equal replies once, narrowed down, principles drawn, canaries chosen."""
    for position, given in enumerate(candidates):
        chance = Random(seed_for(run_seed, "canary", given.prompt.id)).random()
        different = tuple(dict.fromkeys(given.replies))
        replies = narrow(given.prompt, different) if narrow and len(different) > 2 else different
        fewer = {"identical": len(given.replies) - len(different), "unchosen": len(different) - len(replies)}
        yield Task(
            prompt=given.prompt,
            replies=replies,
            principles=draw(given.prompt),
            provenance=given.provenance,
            policy=given.policy,
            canary=canaries > 0.0 and (position < SURE_CANARIES or chance < canaries),
            left_out={**given.left_out, **{why: count for why, count in fewer.items() if count}},
        )


async def judge(task: Task, judges: Sequence[Judge], asking: Asking, combining: Combining) -> Label:
    """The whole label of one prompt. Raises EqualReplies for a given pair of equal replies, and what engines raise."""
    if len(task.replies) < 2 and task.provenance == "pairs":
        raise EqualReplies("both replies of the pair are the same text; drop the row")
    judged = await _compare_all(task, judges, asking, combining) if len(task.replies) > 1 else _Judged((), Usage())
    canaries, spent = await _canary(task, judges, asking)
    flags = ["one_reply"] if len(task.replies) < 2 else []
    if judged.comparisons and all(c.p_a is None for c in judged.comparisons):
        flags.append("unread")
    return Label(
        prompt=task.prompt,
        replies=task.replies,
        comparisons=judged.comparisons,
        strengths=bradley_terry(len(task.replies), judged.comparisons),
        rewards=judged.rewards,
        canaries=canaries,
        provenance=task.provenance,
        policy=task.policy,
        constitution=combining.constitution,
        seed=asking.seed,
        usage=judged.usage + spent,
        flags=tuple(flags),
        left_out=dict(task.left_out),
    )


@dataclass(frozen=True, slots=True)
class _Judged:
    comparisons: tuple[Comparison, ...]
    usage: Usage
    rewards: tuple[float | None, ...] | None = None


async def _compare_all(task: Task, judges: Sequence[Judge], asking: Asking, combining: Combining) -> _Judged:
    """The comparisons of the run's plan; the modes score and list see all replies and so compare all pairs."""
    if asking.mode in ("score", "list"):
        whole = await _ask_whole(judges, task.principles, task.prompt, task.replies, asking)
        comparisons = tuple(
            Comparison(a=a, b=b, votes=votes, p_a=combining.p_a(votes, task.principles))
            for (a, b), votes in whole.votes.items()
        )
        return _Judged(comparisons, whole.usage, _rewards(whole, len(judges), task.principles, combining))
    spent: list[Usage] = []

    async def compare(a: int, b: int) -> Comparison:
        votes, usage = await ask_pair(judges, task.principles, task.prompt, task.replies[a], task.replies[b], asking)
        spent.append(usage)
        return Comparison(a=a, b=b, votes=votes, p_a=combining.p_a(votes, task.principles))

    comparisons = await run_plan(combining.plan, len(task.replies), compare)
    return _Judged(comparisons, sum(spent, Usage()))


def _rewards(
    whole: Asked, judges: int, principles: Sequence[Principle], combining: Combining
) -> tuple[float | None, ...] | None:
    """Each reply's mean number over judges and principles; None where one is missing: replies must stay comparable."""
    if whole.rewards is None:
        return None
    weights = [importance(principle, combining.principles) for principle in principles] * judges
    return tuple(
        None
        if len(known := [n for n in numbers if n is not None]) < len(numbers)
        else sum(n * w for n, w in zip(known, weights, strict=True)) / sum(weights)
        for numbers in whole.rewards
    )


async def _ask_whole(
    judges: Sequence[Judge], principles: Sequence[Principle], prompt: Prompt, replies: Sequence[str], asking: Asking
) -> Asked:
    ask = ask_scores if asking.mode == "score" else ask_lists
    return await ask(judges, principles, prompt, replies, asking)


async def _canary(task: Task, judges: Sequence[Judge], asking: Asking) -> tuple[tuple[Verdict, ...], Usage]:
    """A drawn canary (a) against the first real reply (b) under our own neutral question; none without a real one."""
    real = next((reply for reply in task.replies if reply.strip() not in CANARIES), None)
    if not task.canary or real is None:
        return (), Usage()
    canary = Random(seed_for(asking.seed, "which canary", task.prompt.id)).choice(CANARIES)
    if asking.mode in ("score", "list"):
        whole = await _ask_whole(judges, (CANARY,), task.prompt, (canary, real), asking)
        return whole.votes[0, 1], whole.usage
    return await ask_pair(judges, (CANARY,), task.prompt, canary, real, asking)
