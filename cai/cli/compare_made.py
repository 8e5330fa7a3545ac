"""Makes what a comparison of constitutions needs: chains under each, controls, verdicts of each and of a panel."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cai.cli.compare_given import Given, echo
from cai.cli.critique_job import Job, closing, open_parts, prepare, work_with
from cai.cli.terminal import one_line, progress_bar
from cai.config import load_settings
from cai.config.critique import CritiqueSettings
from cai.config.engine import EngineSettings
from cai.constitution import Constitution, load_constitution
from cai.seeds import content_id

if TYPE_CHECKING:
    from cai.compare.result import Result
    from cai.compare.scoring import Hearing
    from cai.compare.sides import Paired, Side
    from cai.critique.loop import Parts
    from cai.judge.label import Candidates
    from cai.judge.panel import Asking, Judge
    from cai.records import Label
    from cai.store import Counts


@dataclass(frozen=True, slots=True)
class Todo:
    """One constitution's chains to make: the job, and what the side is."""

    job: Job
    constitution: Constitution
    control: bool = False
    without: str = ""
    """The principle left out, of the side `of`."""
    of: str = ""


def make(given: Given, constitutions: Sequence[Constitution], tally: list[Counts]) -> tuple[Result, Paired]:
    """Everything the settings ask for; `tally` gets each stage's counts.

    Raises InputError before any model loads; resumable like its parts.
    """
    if given.settings.depth == "policy":
        from cai.cli.compare_policy import suites_of

        suites_of(given)  # a wrong suite must not wait for the critique runs to end
    todos = plan(given, constitutions)
    panel = load_constitution(given.settings.panel) if given.settings.panel else _neutral()
    specs = _judge_specs(given)
    parts = open_parts(todos[0].job)
    return asyncio.run(closing(parts, make_with(given, todos, panel, specs, parts, tally)))


def plan(given: Given, constitutions: Sequence[Constitution]) -> list[Todo]:
    """The jobs, checked: the constitutions, their placebos, and each without each of its principles."""
    from cai.compare.controls import controls, without

    settings = given.settings
    flags = {
        "prompts": settings.prompts,
        "limit": settings.limit,
        "seed": settings.seed,
        "constitution": given.names[0],
    }
    critique = load_settings(CritiqueSettings, "critique", given.recipe, given.overrides, flags)
    first = prepare(critique, given.spec, given.base)
    todos = [Todo(_job(given, critique, first, one), one) for one in constitutions]
    if settings.placebo:
        placebos = controls(constitutions[0], settings.seed)
        todos += [Todo(_job(given, critique, first, one), one, control=True) for one in placebos]
    if settings.leave_one_out:
        for one in constitutions:
            for principle in one.principles if len(one.principles) > 1 else ():
                rest = without(one, principle.id)
                todos.append(Todo(_job(given, critique, first, rest), rest, without=principle.id, of=one.name))
    return todos


def _job(given: Given, critique: CritiqueSettings, first: Job, constitution: Constitution) -> Job:
    """The first job under another constitution, in a run of its own."""
    loop = constitution.loop
    chosen = replace(
        first.plan,
        constitution=constitution,
        rounds=loop.rounds if critique.rounds is None else critique.rounds,
        final_check=loop.final_check if critique.final_check is None else critique.final_check,
    )
    settings = critique.model_copy(update={"constitution": constitution.name, "run": _run(given, constitution)})
    return replace(first, settings=settings, plan=chosen)


def _run(given: Given, constitution: Constitution, what: str = "") -> str:
    """A run's name: the comparison's, the constitution's and the start of its sha."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", constitution.name).strip("-")[:30]
    return "-".join(part for part in (given.settings.run[:40], what, slug, constitution.sha[:8]) if part)


def _neutral() -> Constitution:
    from cai.compare.neutral import PANEL

    return PANEL


def _judge_specs(given: Given) -> dict[str, EngineSettings]:
    """Judges by name; none where the engine's model judges. Their files are checked here."""
    from cai.cli.engines import check_engine

    for spec in given.settings.judges:
        check_engine(spec)
    return {spec.model: spec for spec in given.settings.judges}


async def make_with(
    given: Given,
    todos: Sequence[Todo],
    panel: Constitution,
    specs: dict[str, EngineSettings],
    parts: Parts,
    tally: list[Counts],
) -> tuple[Result, Paired]:
    """The same in a running event loop, with engines that are open already and stay so."""
    from cai.compare.assemble import assemble, with_drafts
    from cai.compare.sides import pair
    from cai.compare.wording import compare_wording

    made = {id(todo): await side_of(todo, parts, tally) for todo in todos}
    whole = [todo for todo in todos if not todo.without]
    sides = [made[id(todo)] for todo in whole]
    leave_outs: dict[str, dict[str, Side]] = {}
    for todo in todos:
        if todo.without:
            leave_outs.setdefault(todo.of, {})[todo.without] = made[id(todo)]
    paired = with_drafts(pair(sides))
    constitutions = [todo.constitution for todo in whole if not todo.control]
    judging = given.settings.judge
    hearings = await _hear(given, paired, constitutions, panel, specs, parts, tally) if judging else []
    result = assemble(
        sides,
        paired=paired,
        depth=given.settings.depth,
        wording=compare_wording(constitutions),
        hearings=hearings,
        leave_outs=leave_outs,
        seed=given.settings.seed,
    )
    if given.settings.depth == "policy":
        from cai.cli.compare_policy import policies

        result = await policies(given, [todo.job for todo in whole if not todo.control], result, tally)
    return result, paired


async def side_of(todo: Todo, parts: Parts, tally: list[Counts]) -> Side:
    from cai.compare.sides import read_side

    echo(f"critique under {one_line(todo.constitution.name)}")
    outcome = await work_with(todo.job, parts)
    tally.append(outcome.counts)
    return read_side(outcome.folder, todo.constitution.name, control=todo.control)


async def _hear(
    given: Given,
    paired: Paired,
    constitutions: Sequence[Constitution],
    panel: Constitution,
    specs: dict[str, EngineSettings],
    parts: Parts,
    tally: list[Counts],
) -> list[Hearing]:
    """Every constitution that has a judge's voice, and the panel, on the first replies of every side."""
    from cai.cli.engines import open_engine
    from cai.compare.scoring import Hearing
    from cai.judge.panel import Judge

    judges = [Judge(name, open_engine(spec)) for name, spec in specs.items()] or [
        Judge(parts.critic.model, parts.critic)
    ]
    try:
        found: list[Hearing] = []
        for constitution in (panel, *constitutions):
            if any(principle.judge for principle in constitution.principles):
                echo(f"judging by {one_line(constitution.name)}")
                said = await labels_by(given, paired, constitution, judges, tally)
                found.append(Hearing(constitution.name, constitution is panel, said))
        return found
    finally:
        for judge in judges:
            if specs:
                await judge.engine.close()


async def labels_by(
    given: Given, paired: Paired, constitution: Constitution, judges: Sequence[Judge], tally: list[Counts]
) -> tuple[Label, ...]:
    """One judge's labels: all its principles, both orders, all pairs of replies; resumable in a run of its own."""
    from cai.judge.draw import draw_principles
    from cai.judge.label import Combining, tasks
    from cai.judge.panel import Asking
    from cai.judge.stage import LABEL, Work, label_identity, label_tasks, labels
    from cai.store import open_run

    settings = given.settings
    asking: Asking = Asking(mode=settings.mode, seed=settings.seed)
    combining = Combining(constitution.sha, principles="all", inconsistent="tie")
    candidates = _candidates(paired, settings.judged)
    source = "compare " + " ".join(f"{side.name} {side.origin.constitution}" for side in paired.sides)
    identity = label_identity(judges, asking, combining, canaries=0.0, source=source)
    todo = tasks(candidates, draw_principles(constitution, "all", settings.seed), canaries=0.0, run_seed=settings.seed)
    name = f"{_run(given, constitution, 'judged-by')}-{content_id(identity)[:8]}"  # other sides or judges: another run
    with (
        open_run(given.base, name, stage=LABEL, identity=identity) as run,
        progress_bar(f"judge {constitution.name}") as progress,
    ):
        driving = Work(given.spec.in_flight, progress=progress, total=len(candidates))
        tally.append(await label_tasks(run, todo, judges, asking, combining, driving, identity=identity))
        return tuple(labels(run))


def _candidates(paired: Paired, most: int) -> list[Candidates]:
    """Draft, where all sides share it, and every side's final reply; controls are not judged."""
    from cai.compare.sides import DRAFTS
    from cai.judge.label import Candidates

    sides = [side for side in paired.sides if side.name == DRAFTS or not side.origin.control]
    return [
        Candidates(prompt, tuple(side.chains[prompt.id].final for side in sides), "compare")
        for prompt in paired.prompts[:most]
    ]
