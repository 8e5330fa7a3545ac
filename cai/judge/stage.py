"""The two stages of `cai label` in one run's journal: `samples`, then `label`, each resumable by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cai.engine.protocol import Engine, Sampling
from cai.judge.canaries import CANARIES, CANARY_QUESTION
from cai.judge.given import GivenFile
from cai.judge.label import Candidates, Combining, Task, judge
from cai.judge.modes import cot, list, score, text
from cai.judge.panel import Asking, Judge
from cai.judge.prompts import ASK_LETTER, block, many_text, one_text, pair_text
from cai.judge.sampling import sample
from cai.records import Label, Message, Prompt, Revision, Samples
from cai.seeds import content_id
from cai.store import Budget, Counts, Run, run_stage

SAMPLES, LABEL = "samples", "label"
VERSION = 2
"""Changes whenever the same settings would give other rows, for a reason that nothing else in the identity shows."""


@dataclass(frozen=True, slots=True)
class Work:
    """How a stage is driven, whatever it does."""

    concurrency: int
    attempts: int = 3
    max_error_rate: float = 0.05
    budget: Budget | None = None
    progress: Callable[[Counts], None] | None = None
    total: int | None = None


def samples_identity(policy: Engine, *, K: int, like: Sampling, run_seed: int) -> dict[str, object]:
    """Everything a row of samples depends on but the prompt."""
    return {"policy": policy.fingerprint, **samples_plan(K=K, like=like, run_seed=run_seed)}


def samples_plan(*, K: int, like: Sampling, run_seed: int) -> dict[str, object]:
    """The part of `samples_identity` that is known before a model loads."""
    return {
        "version": VERSION,
        "samples": K,
        "temperature": like.temperature,
        "top_p": like.top_p,
        "max_tokens": like.max_tokens,
        "seed": run_seed,
    }


def label_identity(
    judges: Sequence[Judge], asking: Asking, combining: Combining, *, canaries: float, source: str
) -> dict[str, object]:
    """Everything a label depends on but the prompt and its replies."""
    plan = label_plan(asking, combining, canaries=canaries, source=source)
    return {"judges": {judge.name: judge.engine.fingerprint for judge in judges}, **plan}


def label_plan(asking: Asking, combining: Combining, *, canaries: float, source: str) -> dict[str, object]:
    """The part of `label_identity` that is known before a model loads."""
    return {
        "version": VERSION,
        "constitution": combining.constitution,
        "templates": _texts(),
        "mode": asking.mode,
        "orders": asking.orders,
        "best_of": asking.best_of,
        "examples": len(asking.examples),
        "cot": [asking.cot_samples, asking.cot_tokens, asking.cot_clamp],
        "words_tokens": asking.words_tokens,
        "seed": asking.seed,
        "principles": combining.principles,
        "plan": combining.plan,
        "panel": combining.panel,
        "weights": dict(combining.weights or {}),
        "inconsistent": combining.inconsistent,
        "canaries": canaries,
        "source": source,
    }


def _texts() -> str:
    """Hash of every text of ours that a judge may see."""
    prompt = Prompt.of((Message(role="user", content="p"),))
    asks = (ASK_LETTER, cot.ASK_REASON, cot.ASK_ANSWER, score.ASK_SCORE, list.ASK_RANK, list.ASK_BEST, text.ASK_WORDS)
    layouts = (pair_text(prompt, "a", "b", "ab", "0"), one_text(prompt, "a", "0"), many_text(prompt, "ab", "0"))
    return content_id(*asks, *layouts, block("name", "0", "text"), *CANARIES, CANARY_QUESTION)


async def draw_samples(
    run: Run, prompts: Iterable[Prompt], policy: Engine, work: Work, *, K: int, like: Sampling, run_seed: int
) -> Counts:
    """Sample K replies for every prompt; finished ones are skipped. Raises as `run_stage`."""
    what = content_id(SAMPLES, samples_identity(policy, K=K, like=like, run_seed=run_seed))
    return await run_stage(
        run,
        SAMPLES,
        prompts,
        lambda prompt: sample(prompt, policy, K=K, like=like, run_seed=run_seed),
        key=lambda prompt: content_id(what, prompt.id),
        concurrency=work.concurrency,
        attempts=work.attempts,
        max_error_rate=work.max_error_rate,
        budget=work.budget,
        progress=work.progress,
        total=work.total,
    )


async def label_tasks(
    run: Run,
    tasks: Iterable[Task],
    judges: Sequence[Judge],
    asking: Asking,
    combining: Combining,
    work: Work,
    *,
    identity: Mapping[str, object],
) -> Counts:
    """Judge every task and store its `Label`; finished ones are skipped. Raises as `run_stage`."""
    what = content_id(LABEL, dict(identity))
    return await run_stage(
        run,
        LABEL,
        tasks,
        lambda task: judge(task, judges, asking, combining),
        key=lambda task: content_id(what, task.key),
        concurrency=work.concurrency,
        attempts=work.attempts,
        max_error_rate=work.max_error_rate,
        budget=work.budget,
        progress=work.progress,
        total=work.total,
    )


def sampled(run: Run, *, keep_truncated: bool = False) -> Iterator[Candidates]:
    """The run's own samples; quarantined prompts are passed over."""
    for stored in run.rows(SAMPLES, Samples):
        if stored.body is not None:
            yield usable(stored.body, keep_truncated=keep_truncated)


def usable(samples: Samples, *, keep_truncated: bool) -> Candidates:
    """The replies that can be judged: neither empty nor, unless they are to be kept, cut at the most tokens."""
    cut = samples.truncated or (False,) * len(samples.replies)
    why = [
        "empty" if not reply.strip() else "truncated" if truncated and not keep_truncated else ""
        for reply, truncated in zip(samples.replies, cut, strict=True)
    ]
    kept = tuple(reply for reply, reason in zip(samples.replies, why, strict=True) if not reason)
    left_out = Counter(reason for reason in why if reason)
    return Candidates(samples.prompt, kept, "samples", samples.policy, left_out)


def given(file: GivenFile) -> Iterator[Candidates]:
    """Replies or pairs that the user brought."""
    for one in file:
        yield Candidates(one.prompt, one.replies, one.kind)


def revised(revisions: Iterable[Revision]) -> Iterator[Candidates]:
    """Draft and final reply of critique chains: style as much as substance differs, so the provenance says it."""
    for revision in revisions:
        yield Candidates(
            revision.prompt, (revision.draft, revision.final), "draft-vs-revision", revision.models.get("draft", "")
        )


def labels(run: Run) -> Iterator[Label]:
    """The labels of a run, in the order of its prompts."""
    return (stored.body for stored in run.rows(LABEL, Label) if stored.body is not None)
