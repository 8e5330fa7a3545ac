"""Every prompt that a constitution becomes, as text to read: the same functions ask the model in a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cai.constitution.diff import Change
from cai.constitution.model import Constitution, Principle
from cai.critique.prompts import critique_turns, example_turns, revise_turns
from cai.engine.protocol import Turn
from cai.judge.modes.logprob import turns as judge_turns
from cai.judge.question import Question
from cai.records import Message, Prompt
from cai.strict_yaml import shown

PROMPT = Prompt.of((Message(role="user", content="[the conversation]"),))
REPLY = "[the reply]"
FENCE = "[fence]"


def rendered(constitution: Constitution, principles: Sequence[Principle]) -> Iterator[str]:
    """Lines: the few-shots once, then for each principle its critique, revision and judge prompt."""
    loop = constitution.loop
    yield f"constitution {constitution.name}, sha {constitution.sha}"
    final = ", then a check against every principle" if loop.final_check else ""
    yield f"{count(len(constitution.principles), 'principle')}, {count(loop.rounds, 'round')}, draw {loop.draw}{final}"
    if not constitution.principles:
        yield "nothing is asked: a reply stays as it was drafted"
    if constitution.examples:
        yield from ("", "== few-shots before every critique")
        yield from _turns(example_turns(constitution.examples))
    if constitution.judge_examples:
        yield from ("", "== few-shots before every judgement")
        yield from _turns(judge_turns(_question("", constitution))[:-1])
    for principle in principles:
        yield from _principle(constitution, principle)


def _principle(constitution: Constitution, principle: Principle) -> Iterator[str]:
    tags = f", tags {', '.join(principle.tags)}" if principle.tags else ""
    yield from ("", f"== {principle.id} (weight {principle.weight:g}, priority {principle.priority}{tags})")
    if principle.critique:
        asked = critique_turns(PROMPT, Turn("assistant", REPLY), principle)
        yield "-- critique"
        yield from _turns(asked)
        yield "-- revision, after the critique"
        yield from _turns(revise_turns(asked, Turn("assistant", "[the critique]"), principle)[len(asked) :])
    if principle.judge:
        yield "-- judge"
        yield from _turns(judge_turns(_question(principle.judge, constitution))[-1:])


def _question(voice: str, constitution: Constitution) -> Question:
    return Question(PROMPT, "[reply a]", "[reply b]", "ab", voice, FENCE, 0, constitution.judge_examples)


def _turns(turns: Sequence[Turn]) -> Iterator[str]:
    for turn in turns:
        first, *rest = (shown(line, limit=1_000_000) for line in turn.content.split("\n"))
        label = f"{turn.role}:"
        yield f"   {label:<10} {first}".rstrip()
        yield from (f"   {'':<10} {line}".rstrip() for line in rest)


def count(number: int, what: str) -> str:
    """`1 round`, `2 rounds`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def change_lines(change: Change) -> Iterator[str]:
    """One difference between two constitutions: a line, or old and new text under each other."""
    sign = {"added": "+", "removed": "-", "renamed": "~", "changed": "~"}[change.kind]
    before, after = shown(change.before, 2_000), shown(change.after, 2_000)
    if change.kind in ("added", "removed"):
        yield f"{sign} {change.subject}: {before or after}"
    elif change.kind == "renamed":
        yield f"{sign} {before} is now called {after}"
    elif len(before) + len(after) <= 60:
        yield f"{sign} {change.subject} {change.part}: {before or '(none)'} -> {after or '(none)'}"
    else:
        yield f"{sign} {change.subject} {change.part}:"
        yield f"    - {before or '(none)'}"
        yield f"    + {after or '(none)'}"
