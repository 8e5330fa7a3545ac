"""`cai label --dry-run`: a few prompts labelled for real, one question shown, the cost of the rest scaled up."""

from __future__ import annotations

import asyncio
import time
from itertools import islice
from typing import TYPE_CHECKING

from cai.cli.label_job import Job, announce, closing, open_engines, tasks_of
from cai.cli.terminal import duration, one_line

if TYPE_CHECKING:
    from cai.engine.protocol import Engine
    from cai.judge.label import Candidates, Task
    from cai.judge.panel import Judge
    from cai.records import Label, Usage

PROBED = 8


def probe(job: Job) -> list[str]:
    """Label the first few prompts, show the first of them, and scale the cost up; nothing is stored."""
    announce(job)
    policy, judges = open_engines(job)
    started = time.perf_counter()
    found, labels, usage = asyncio.run(closing(policy, judges, _few(job, policy, judges)))
    seconds = time.perf_counter() - started
    shown = _shown(job, found[0], labels[0]) if found else []
    total = job.asked.count if job.asked else job.source.count if job.source else None
    return [*shown, *_estimate(job, usage, len(found), total, seconds), "nothing was stored"]


async def _few(job: Job, policy: Engine | None, judges: list[Judge]) -> tuple[list[Task], list[Label], Usage]:
    """The first tasks and their labels, with the cost of sampling and judging."""
    from cai.judge.label import judge
    from cai.records import Usage

    candidates, usage = await _candidates(job, policy)
    found = list(tasks_of(job, candidates))
    labels = await asyncio.gather(*(judge(task, judges, job.asking, job.combining) for task in found))
    return found, labels, sum((label.usage for label in labels), usage or Usage())


async def _candidates(job: Job, policy: Engine | None) -> tuple[list[Candidates], Usage]:
    from cai.judge.sampling import sample
    from cai.judge.stage import usable
    from cai.records import Usage

    if job.source is not None:
        return list(islice(job.source.open(), PROBED)), Usage()
    assert job.asked is not None, "without a source there are prompts"
    assert policy is not None, "prompts need a policy"
    settings = job.settings
    drawn = await asyncio.gather(
        *(
            sample(prompt, policy, K=settings.samples, like=job.like, run_seed=settings.seed)
            for prompt in islice(job.asked.prompts, PROBED)
        )
    )
    found = [usable(one, keep_truncated=settings.keep_truncated) for one in drawn]
    return found, sum((one.usage for one in drawn), Usage())


def _shown(job: Job, task: Task, label: Label) -> list[str]:
    """The question as the judge got it, and every verdict."""
    from cai.judge.panel import first_question

    lines = [f"=== {job.settings.mode} under {one_line(task.principles[0].id)} ({one_line(task.prompt.source)})"]
    for turn in first_question(task.prompt, task.replies, task.principles[0], job.asking):
        lines.append(f"[{turn.role}]\n{turn.content}")
    for comparison in label.comparisons:
        for vote in comparison.votes:
            p = "unread" if vote.p_a is None else f"{vote.p_a:.3f}"
            lines.append(f"--- {vote.judge}, {vote.principle}, order {vote.order}: p {p}; {one_line(vote.raw, 200)}")
    return lines


def _estimate(job: Job, usage: Usage, probed: int, total: int | None, seconds: float) -> list[str]:
    """The probe's cost and, where the number of prompts is known, the whole run's."""
    share = (total or probed) / max(probed, 1)
    about = f"{total:,} prompts" if total is not None else f"{probed} prompts probed; the whole number is not known"
    lines = [
        f"{about}: about {usage.calls * share:,.0f} calls, {usage.prompt_tokens * share:,.0f} prompt tokens, "
        f"{usage.completion_tokens * share:,.0f} written (from {probed} probed prompts)",
        f"about {duration(seconds * share)}, at the speed of the probe; larger batches are faster",
    ]
    priced = job.settings.price_in or job.settings.price_out
    return [*lines, f"cost {job.price(usage) * share:.4g}" if priced else "no price given: --price-in, --price-out"]
