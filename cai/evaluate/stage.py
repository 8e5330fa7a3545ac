"""The stage: every item of a suite, bare and under each attack, into a run's journal; finished ones are skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cai.engine.protocol import Engine
from cai.evaluate.attacks import attacked
from cai.evaluate.suite import Answer, How, Item, Suite
from cai.seeds import content_id
from cai.store import Counts, Run, run_stage

VERSION = 1


def stage_of(suite: Suite) -> str:
    return f"evaluate-{suite.name}"


def identity(
    suite: Suite, engine: Engine, how: How, items: Sequence[Item], attacks: Sequence[str]
) -> dict[str, object]:
    """Everything an answer depends on but the item."""
    engines = {"model": engine.fingerprint, "judge": how.judge.fingerprint if how.judge else ""}
    return {**engines, **known_identity(suite, how, items, attacks)}


def known_identity(suite: Suite, how: How, items: Sequence[Item], attacks: Sequence[str]) -> dict[str, object]:
    """The part of `identity` that is known before a model loads."""
    return {
        "version": VERSION,
        "suite": suite.name,
        "seed": how.seed,
        "temperature": how.temperature,
        "max_tokens": how.max_tokens,
        "attacks": list(attacks),
        "items": content_id(*(item.prompt.id for item in items)),
    }


def with_attacks(suite: Suite, items: Iterable[Item], attacks: Sequence[str]) -> list[Item]:
    """The bare items, then each attack's, where the suite's prompts can be wrapped."""
    bare = list(items)
    return bare + [attacked(item, name) for name in (attacks if suite.attackable else ()) for item in bare]


async def evaluate(
    run: Run,
    suite: Suite,
    engine: Engine,
    how: How,
    items: Sequence[Item],
    *,
    concurrency: int,
    progress: Callable[[Counts], None] | None = None,
) -> Counts:
    """Ask every item and store its `Answer`. Raises as `run_stage`."""

    async def work(item: Item) -> Answer:
        found = await suite.ask(engine, item, how)
        name = item.facts.get("attack", "")
        return found.model_copy(
            update={"attack": name, "item": content_id(item.facts.get("request") or item.prompt.id)}
        )

    return await run_stage(
        run,
        stage_of(suite),
        items,
        work,
        key=lambda item: item.prompt.id,
        concurrency=concurrency,
        max_error_rate=0.05,
        progress=progress,
        total=len(items),
    )


def answers(run: Run, suite: Suite) -> list[Answer]:
    """The stored answers, in the order of the items."""
    return [row.body for row in run.rows(stage_of(suite), Answer) if row.body is not None]
