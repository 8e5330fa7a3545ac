"""`cai evaluate` without its flags: suites found and checked, models opened, figures printed and written."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from cai.cli.engines import check_engine, open_engine
from cai.cli.evaluate_judge import JUDGE_SUITES, check_pairs, judge_lines
from cai.cli.evaluate_tables import beside_lines, model_lines
from cai.cli.evaluate_training import TRAINING, has_journal, training_lines
from cai.cli.table import table_lines
from cai.cli.terminal import progress_bar
from cai.config.engine import EngineSettings
from cai.config.evaluate import EvaluateSettings
from cai.errors import InputError, Where
from cai.seeds import seed_for
from cai.strict_yaml import did_you_mean

if TYPE_CHECKING:
    from cai.evaluate.suite import Answer, Item, Suite
    from cai.store import Counts, Run


@dataclass(frozen=True, slots=True)
class Loaded:
    """A suite with its items, attacks included."""

    suite: Suite
    items: list[Item]


def listing() -> list[str]:
    """Suites with what they need, and attacks."""
    from cai.evaluate.attacks import ATTACKS
    from cai.evaluate.suites import SUITES

    rows = [[s.name, s.file or ("several sets" if s.name == "harm" else "built in"), s.about] for s in SUITES.values()]
    rows += [[name, file, "the model as a judge of pairs, against people"] for name, file in JUDGE_SUITES.items()]
    rows.append([TRAINING, "a training's journal", "signs of reward hacking in the training that made the model"])
    return [*table_lines([["suite", "data", "about"], *rows], 90), "", f"attacks: {', '.join(ATTACKS)}"]


def load_suites(settings: EvaluateSettings) -> list[Loaded]:
    """The suites named, their data read and checked. Raises InputError(s) with file and line."""
    from cai.evaluate.attacks import ATTACKS, attack
    from cai.evaluate.stage import with_attacks
    from cai.evaluate.suites import SUITES

    attacks = tuple(ATTACKS) if settings.attacks == ("all",) else settings.attacks
    for name in attacks:
        attack(name)
    every = settings.suites == ("all",)
    others = (*JUDGE_SUITES, TRAINING)
    names = tuple(SUITES) if every else tuple(n for n in settings.suites if n not in others)
    loaded: list[Loaded] = []
    for name in names:
        if name not in SUITES:
            known = (*SUITES, *others)
            raise InputError(f"no suite {name!r}", did_you_mean(name, known) or f"there are {', '.join(known)}")
        suite = SUITES[name]
        path = _data(settings, suite)
        if every and not path.exists():
            continue
        items = list(suite.load(path))
        if settings.limit is not None and settings.limit < len(items):
            items = Random(seed_for(settings.seed, "limit", name)).sample(items, settings.limit)
        loaded.append(Loaded(suite, with_attacks(suite, items, attacks)))
    return loaded


def _data(settings: EvaluateSettings, suite: Suite) -> Path:
    if suite.name == "testbed":
        return Path()
    if not settings.data:
        remedy = "give the folder with --data or CAI_DATA"
        raise InputError(f"suite {suite.name} needs data", remedy, Where("--data"))
    return Path(settings.data) / suite.file


def evaluate(settings: EvaluateSettings, spec: EngineSettings, base: Path) -> Iterator[str]:
    """Everything asked for, line by line as it is known. Raises TooManyErrors once all lines are out."""
    loaded = load_suites(settings)
    specs = [spec, *([spec.model_copy(update={"model": settings.beside})] if settings.beside else [])]
    judging, training = _beyond(settings, specs)
    for name in judging:
        check_pairs(settings, name)
    if loaded or judging:
        for one in (*specs, *([spec.model_copy(update={"model": settings.judge})] if settings.judge else [])):
            check_engine(one)
    yield from (line for one in training for line in training_lines(one.model, settings.seed))
    tally: list[Counts] = []
    suites = [one.suite for one in loaded]
    per_model = [asyncio.run(run_suites(settings, one, loaded, base, tally)) for one in specs] if loaded else []
    for one, answers in zip(specs, per_model, strict=False):
        yield from model_lines(one.model, suites, answers, settings.seed)
    if len(per_model) == 2:
        yield from beside_lines(spec.model, settings.beside, suites, per_model, settings.seed)
    for one in specs:
        for name in judging:
            yield from judge_lines(settings, one, name)
    for counts in tally:
        counts.check_errors()


def _beyond(settings: EvaluateSettings, specs: Sequence[EngineSettings]) -> tuple[list[str], list[EngineSettings]]:
    """The suites of the model as a judge, and the models whose training is looked at; `all` takes what is there."""
    if settings.suites == ("all",):
        there = [n for n, file in JUDGE_SUITES.items() if settings.data and (Path(settings.data) / file).exists()]
        return there, [one for one in specs if has_journal(one.model)]
    judging = [name for name in settings.suites if name in JUDGE_SUITES]
    return judging, list(specs) if TRAINING in settings.suites else []


async def run_suites(
    settings: EvaluateSettings, spec: EngineSettings, loaded: Sequence[Loaded], base: Path, tally: list[Counts]
) -> dict[str, list[Answer]]:
    """One model's stored answers to every suite, asked where they are missing; `tally` gets each suite's counts."""
    from cai.evaluate import stage
    from cai.evaluate.suite import How
    from cai.store import check_run, open_run

    how, name = How(settings.seed, settings.temperature, settings.max_tokens), run_name(settings, spec)
    for one in loaded:
        known = stage.known_identity(one.suite, how, one.items, settings.attacks)
        check_run(base, name, stage=stage.stage_of(one.suite), known=known)
    engine = open_engine(spec)
    judge = open_engine(spec.model_copy(update={"model": settings.judge})) if settings.judge else None
    how = replace(how, judge=judge)
    found: dict[str, list[Answer]] = {}
    try:
        for one in loaded:
            identity = stage.identity(one.suite, engine, how, one.items, settings.attacks)
            with (
                open_run(base, name, stage=stage.stage_of(one.suite), identity=identity) as run,
                progress_bar(f"{one.suite.name} {spec.model}") as progress,
            ):
                counts = await stage.evaluate(
                    run, one.suite, engine, how, one.items, concurrency=spec.in_flight, progress=progress
                )
                tally.append(counts)
                found[one.suite.name] = stage.answers(run, one.suite)
                _write(run, one.suite, found[one.suite.name], settings)
    finally:
        for opened in (engine, judge):
            if opened is not None:
                await opened.close()
    return found


def _write(run: Run, suite: Suite, answers: Sequence[Answer], settings: EvaluateSettings) -> None:
    """The suite's figures as JSON beside the journal."""
    from cai.evaluate.scores import scores

    figures = [score.model_dump(mode="json") for score in scores(suite, answers, settings.seed)]
    run.write_text(f"{suite.name}.json", json.dumps(figures, indent=1, ensure_ascii=True) + "\n")


def run_name(settings: EvaluateSettings, spec: EngineSettings) -> str:
    """By default the model's name; a second model has a run of its own."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", spec.model).strip("-")[-60:]
    if not settings.run:
        return f"evaluate-{slug}"
    return settings.run if spec.model != settings.beside else f"{settings.run}-{slug}"
