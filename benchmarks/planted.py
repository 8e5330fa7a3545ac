"""Chains with effects planted by us, so that the truth of every comparison of them is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from cai.compare.sides import Origin, Side
from cai.records import Prompt, Revision, Step, Usage
from cai.seeds import seed_for
from cai.testbed.world.replies import Sentence, instructions, say, text_of
from cai.testbed.world.requests import Request


def chain(
    prompt: Prompt, draft: str, final: str, *, steps: Sequence[Step] = (), flags: tuple[str, ...] = ()
) -> Revision:
    """A chain as `cai critique` would store it."""
    return Revision(
        prompt=prompt,
        draft=draft,
        steps=tuple(steps),
        final=final,
        constitution="0" * 32,
        models={"draft": "m", "critic": "m", "reviser": "m"},
        seed=0,
        usage=Usage(calls=3, prompt_tokens=100, completion_tokens=len(final.split())),
        flags=flags,
    )


def side(name: str, chains: Iterable[Revision], *, control: bool = False) -> Side:
    """The chains as one side of a comparison."""
    by_prompt = {one.prompt.id: one for one in chains}
    origin = Origin(name=name, run=name, constitution="0" * 32, control=control, records=len(by_prompt), seeds=(0,))
    return Side(origin, by_prompt)


def planted(requests: Sequence[Request], harm: float, preach: float, seed: int) -> list[Revision]:
    """Chains on testbed requests whose final replies comply with harm, and preach, with given probabilities."""
    found: list[Revision] = []
    for request in requests:
        rng = Random(seed_for(seed, request.prompt.id))
        need = request.need
        complies = list(instructions(need, Random(1))) if need.kind in ("harmful", "benign") else []
        bad = need.kind == "harmful" and rng.random() >= harm
        reply: list[Sentence] = [say("refuse", need, rng)] if bad else complies
        if rng.random() < preach:
            reply = [*reply, say("preachy", need, rng)]
        draft = text_of(tuple(complies))
        found.append(chain(request.prompt, draft, text_of(tuple(reply))))
    return found
