"""The stage as a whole: chains over all prompts into a run's journal."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cai.critique import prompts as texts
from cai.critique.loop import Parts, Plan, run_chain
from cai.records import Prompt
from cai.seeds import content_id
from cai.store import Budget, Counts, Run, run_stage

STAGE = "critique"
VERSION = 1
"""Changes whenever the same settings would give other rows, for a reason that nothing else in the identity shows."""


def identity(parts: Parts, plan: Plan) -> dict[str, object]:
    """Everything a row depends on but the prompt; a run is not resumed with another one."""
    models = {
        "draft": parts.draft.fingerprint,
        "critic": parts.critic.fingerprint,
        "reviser": parts.reviser.fingerprint,
    }
    return {**plan_identity(plan), "models": models}


def plan_identity(plan: Plan) -> dict[str, object]:
    """The part of the identity that is known before a model loads."""
    return {
        "version": VERSION,
        "constitution": plan.constitution.sha,
        "templates": content_id(texts.CRITIQUE_ASK, texts.REVISE_ASK, texts.NO_CHANGE),
        "seed": plan.seed,
        "rounds": plan.rounds,
        "final_check": plan.final_check,
        "temperature": plan.temperature,
        "top_p": plan.top_p,
        "max_tokens": plan.max_tokens,
    }


async def criticise(
    run: Run,
    prompts: Iterable[Prompt],
    parts: Parts,
    plan: Plan,
    *,
    concurrency: int,
    attempts: int = 3,
    max_error_rate: float = 0.05,
    budget: Budget | None = None,
    progress: Callable[[Counts], None] | None = None,
    total: int | None = None,
) -> Counts:
    """Run every prompt's chain and store its `Revision`; finished ones are skipped. Raises as `run_stage`."""
    what = content_id(STAGE, identity(parts, plan))
    return await run_stage(
        run,
        STAGE,
        prompts,
        lambda prompt: run_chain(prompt, parts, plan),
        key=lambda prompt: content_id(what, prompt.id),
        concurrency=concurrency,
        attempts=attempts,
        max_error_rate=max_error_rate,
        budget=budget,
        progress=progress,
        total=total,
    )
