"""A small constitution, prompts and a scripted model that breaks its principles in a known way."""

from __future__ import annotations

from cai.constitution import Constitution, Loop, Principle
from cai.critique.loop import Plan
from cai.engine.protocol import Sampling, Turn
from cai.records import Message, Prompt
from cai.seeds import seed_for


def ask(text: str) -> Prompt:
    return Prompt.of((Message(role="user", content=text),), source="asked:1")


def make_constitution(*names: str, **loop: object) -> Constitution:
    principles = tuple(Principle(id=n, critique=f"Find {n}.", revise=f"Remove {n}.", judge=f"{n}?") for n in names)
    return Constitution(name="small", principles=principles, loop=Loop.model_validate(loop))


def make_plan(constitution: Constitution, *, seed: int = 0, max_tokens: int = 50) -> Plan:
    loop = constitution.loop
    return Plan(constitution, seed, loop.rounds, loop.final_check, temperature=1.0, top_p=1.0, max_tokens=max_tokens)


def behave(turns: tuple[Turn, ...], sampling: Sampling) -> str:
    """Drafts hold one or more faults by their prompt; a critique finds its fault if it is there; a revision removes it.

    A fault is written `<name>`; the principle `name` finds it. Every reply ends with a word drawn from its seed.
    """
    word = f"w{sampling.seed % 1000}"
    last = turns[-1].content
    if last.startswith("Find "):
        name = last.split()[1].rstrip(".")
        return f"It says <{name}> {word}." if f"<{name}>" in turns[-2].content else "No change needed."
    if last.startswith("Remove "):
        name = last.split()[1].rstrip(".")
        return turns[-4].content.replace(f"<{name}>", f"[{name} gone]") + f" {word}"
    faults = [f"<{name}>" for name in ("harm", "lies", "noise") if name in last]
    return " ".join(["Reply", *faults, word])


def prompts(count: int) -> list[Prompt]:
    kinds = ("plain", "harm", "lies", "harm lies", "noise")
    return [ask(f"Question {n} {kinds[seed_for(1, n) % len(kinds)]}") for n in range(count)]
