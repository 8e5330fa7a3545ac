"""One prompt's chain: a draft, then rounds of critique and, where the critique finds a problem, revision.

Every random number comes from the prompt and the place in the chain, so a chain's result depends on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cai.constitution import Constitution, Principle, by_priority, principle_for
from cai.critique.hygiene import critique_problems, reply_problems
from cai.critique.prompts import critique_turns, draft_turns, read_critique, read_revision, revise_turns
from cai.engine.protocol import Completion, Engine, Sampling, Turn
from cai.records import Prompt, Revision, Step, Usage
from cai.seeds import seed_for


@dataclass(frozen=True, slots=True)
class Parts:
    """Who plays which part; often one engine plays all three."""

    draft: Engine
    critic: Engine
    reviser: Engine

    def models(self) -> dict[str, str]:
        return {"draft": self.draft.model, "critic": self.critic.model, "reviser": self.reviser.model}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a chain does, and how it samples; `max_tokens` bounds each answer."""

    constitution: Constitution
    seed: int
    rounds: int
    final_check: bool
    temperature: float
    top_p: float
    max_tokens: int

    def sampling(self, *place: str | int) -> Sampling:
        """The sampling of one call, seeded by its place: part, prompt, round, principle."""
        return Sampling(seed_for(self.seed, *place), self.temperature, self.top_p, self.max_tokens)

    def checks(self, prompt: Prompt) -> list[tuple[int, Principle]]:
        """Every critique that is due, as round and principle; the final check is the round after the last."""
        due = [(n, p) for n in range(self.rounds) for p in principle_for(self.constitution, self.seed, prompt.id, n)]
        if self.final_check:
            able = tuple(p for p in self.constitution.principles if p.critique)
            due += [(self.rounds, p) for p in by_priority(able)]
        return due


@dataclass(frozen=True, slots=True)
class _Reply:
    """The reply as it stands, which completion it came from, and what is wrong with it."""

    text: str
    completion: Completion
    by: Engine
    flags: tuple[str, ...]

    def turn(self, reader: Engine) -> Turn:
        """The reply as a turn for `reader`, with its token ids where that engine drew them."""
        return _turn(self.text, self.completion, known=self.by is reader)


async def run_chain(prompt: Prompt, parts: Parts, plan: Plan) -> Revision:
    """Draft, then criticise and revise. Raises what the engines raise; an empty draft is left as it is."""
    drawn = await parts.draft.generate(draft_turns(prompt), plan.sampling("draft", prompt.id))
    draft = drawn.text.strip()
    reply = _Reply(draft, drawn, parts.draft, (*reply_problems(draft), *_cut(drawn)))
    usage, steps = drawn.usage, list[Step]()
    for index, (round, principle) in enumerate(plan.checks(prompt) if draft else ()):
        step, reply, used = await _step(prompt, reply, principle, round, index, parts, plan)
        steps.append(step)
        usage += used
    return Revision(
        prompt=prompt,
        draft=draft,
        steps=tuple(steps),
        final=reply.text,
        constitution=plan.constitution.sha,
        models=parts.models(),
        seed=plan.seed,
        usage=usage,
        flags=reply.flags,
    )


async def _step(
    prompt: Prompt, reply: _Reply, principle: Principle, round: int, index: int, parts: Parts, plan: Plan
) -> tuple[Step, _Reply, Usage]:
    """One critique under one principle, and the revision it asks for."""
    place = (prompt.id, round, index, principle.id)
    examples = plan.constitution.examples
    asked = critique_turns(prompt, reply.turn(parts.critic), principle, examples)
    drawn = await parts.critic.generate(asked, plan.sampling("critique", *place))
    critique, violated, usage = drawn.text.strip(), read_critique(drawn.text), drawn.usage
    flags = (*critique_problems(critique, reply.text), *_cut(drawn))
    revision, after = None, reply
    if violated and principle.revise:
        asked = critique_turns(prompt, reply.turn(parts.reviser), principle, examples)
        said = _turn(critique, drawn, known=parts.critic is parts.reviser)
        drawn = await parts.reviser.generate(revise_turns(asked, said, principle), plan.sampling("revise", *place))
        usage += drawn.usage
        revision = read_revision(drawn.text) or ""
        problems = _revision_problems(revision, drawn, reply, critique)
        flags += problems
        after = _revised(reply, revision, drawn, parts.reviser, problems)
    step = Step(
        round=round,
        principle=principle.id,
        critique=critique,
        violated=violated,
        revision=revision,
        changed=after.text != reply.text,
        flags=tuple(dict.fromkeys(flags)),
    )
    return step, after, usage


def _revision_problems(revision: str, drawn: Completion, before: _Reply, critique: str) -> tuple[str, ...]:
    if revision == before.text:
        return ("identical",)
    return (*reply_problems(revision, before=before.text, critique=critique), *_cut(drawn))


def _revised(before: _Reply, revision: str, drawn: Completion, by: Engine, problems: tuple[str, ...]) -> _Reply:
    """The reply after a revision. One that is empty or equal leaves a reply that stands criticised: `identical`."""
    if revision in ("", before.text):
        return replace(before, flags=tuple(dict.fromkeys((*before.flags, "identical"))))
    return _Reply(revision, drawn, by, problems)


def _cut(drawn: Completion) -> tuple[str, ...]:
    return ("truncated",) if drawn.finish_reason == "length" else ()


def _turn(text: str, completion: Completion, *, known: bool) -> Turn:
    ids = completion.token_ids if known and text == completion.text else ()
    return Turn("assistant", text, ids)
