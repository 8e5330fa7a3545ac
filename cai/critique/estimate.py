"""What a run would ask and cost, before it is paid for: a few real chains, and arithmetic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from cai.critique.loop import Parts, Plan, run_chain
from cai.critique.prompts import critique_turns, draft_turns, revise_turns
from cai.engine.protocol import Turn
from cai.errors import EngineFault, RecordFault
from cai.records import Prompt, Revision, Usage


@dataclass(frozen=True, slots=True)
class Asked:
    """One call of a probe: what it is for, the turns, the answer."""

    what: str
    turns: tuple[Turn, ...]
    answer: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """A whole run, scaled up from the probe. Without a probe it is the bound: every critique asks for a revision."""

    prompts: int
    probed: int
    failed: int
    """Probed prompts that the model could not answer; they would be quarantined."""
    usage: Usage
    seconds: float | None
    most_calls: int
    too_long: int
    """Prompts that do not fit in the drafting model's context; they would be quarantined."""


async def probe(prompts: Iterable[Prompt], count: int, parts: Parts, plan: Plan) -> tuple[list[Revision], int, float]:
    """Run the first `count` chains at once: the finished ones, how many failed, and the seconds all took."""
    started = time.perf_counter()
    chains = [run_chain(prompt, parts, plan) for prompt in islice(prompts, count)]
    done = await asyncio.gather(*chains, return_exceptions=True)
    finished = [chain for chain in done if isinstance(chain, Revision)]
    for fault in done:
        if isinstance(fault, BaseException) and not isinstance(fault, (RecordFault, EngineFault)):
            raise fault
    return finished, len(done) - len(finished), time.perf_counter() - started


def estimate(
    prompts: Iterable[Prompt], found: Sequence[Revision], failed: int, seconds: float, parts: Parts, plan: Plan
) -> Estimate:
    """Scale the probe to all prompts; the draft's prompt tokens are counted for every one with its own tokenizer."""
    lengths, most_calls = list[int](), 0
    for prompt in prompts:
        lengths.append(parts.draft.count_tokens(draft_turns(prompt)))
        most_calls += 1 + 2 * len(plan.checks(prompt))
    room = parts.draft.context_length
    too_long = sum(room is not None and length >= room for length in lengths)
    if found:
        usage = _scaled(found, len(lengths), sum(lengths), parts)
        time_needed = seconds / (len(found) + failed) * len(lengths)
    else:
        written = most_calls * plan.max_tokens
        usage = Usage(calls=most_calls, prompt_tokens=sum(lengths), completion_tokens=written)
        time_needed = None
    return Estimate(len(lengths), len(found), failed, usage, time_needed, most_calls, too_long)


def _scaled(found: Sequence[Revision], count: int, draft_tokens: int, parts: Parts) -> Usage:
    """The probe's mean usage times `count`, with the exact number in place of the drafts' prompt tokens."""
    used = sum((revision.usage for revision in found), Usage())
    probed_drafts = sum(parts.draft.count_tokens(draft_turns(revision.prompt)) for revision in found)
    share = count / len(found)
    return Usage(
        calls=round(used.calls * share),
        prompt_tokens=draft_tokens + round((used.prompt_tokens - probed_drafts) * share),
        cached_tokens=round(used.cached_tokens * share),
        completion_tokens=round(used.completion_tokens * share),
    )


def conversation(revision: Revision, plan: Plan) -> Iterator[Asked]:
    """Every call of a finished chain as it was asked, in order."""
    reply = revision.draft
    yield Asked("draft", draft_turns(revision.prompt), reply)
    by_id = {principle.id: principle for principle in plan.constitution.principles}
    for step in revision.steps:
        principle = by_id[step.principle]
        turns = critique_turns(revision.prompt, Turn("assistant", reply), principle, plan.constitution.examples)
        yield Asked(f"critique, round {step.round + 1}, {principle.id}", turns, step.critique)
        if step.revision is not None:
            turns = revise_turns(turns, Turn("assistant", step.critique), principle)
            yield Asked(f"revision, round {step.round + 1}, {principle.id}", turns, step.revision)
        if step.changed and step.revision:
            reply = step.revision
