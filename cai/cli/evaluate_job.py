"""`cai evaluate` without its flags: suites found and checked, models opened, figures printed and written."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from cai.cli.engines import check_engine, open_engine
from cai.cli.table import table_lines
from cai.cli.terminal import plain, progress_bar
from cai.config.engine import EngineSettings
from cai.config.evaluate import EvaluateSettings
from cai.errors import InputError, Where
from cai.seeds import seed_for
from cai.strict_yaml import did_you_mean

if TYPE_CHECKING:
    from cai.evaluate.scores import Score
    from cai.evaluate.suite import Answer, Item, Suite
    from cai.judge.exam import Exam
    from cai.measures.contrast import Contrast
    from cai.store import Run

JUDGE_SUITES = {"hh-rlhf": "hh-rlhf/harmless-base-test.jsonl.gz", "hhh": "hhh"}
"""Suites of the model as a judge: pairs whose better reply people named."""
DEFAULT_PAIRS = 200


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
    names = tuple(SUITES) if every else tuple(n for n in settings.suites if n not in JUDGE_SUITES)
    loaded: list[Loaded] = []
    for name in names:
        if name not in SUITES:
            known = (*SUITES, *JUDGE_SUITES)
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


def evaluate(settings: EvaluateSettings, spec: EngineSettings, base: Path) -> list[str]:
    """Everything asked for; the lines to print."""
    loaded = load_suites(settings)
    judging = [name for name in settings.suites if name in JUDGE_SUITES]
    specs = [spec, *([spec.model_copy(update={"model": settings.beside})] if settings.beside else [])]
    for one in (*specs, *([spec.model_copy(update={"model": settings.judge})] if settings.judge else [])):
        check_engine(one)
    per_model = [asyncio.run(run_suites(settings, one, loaded, base)) for one in specs]
    names = [one.model for one in specs]
    lines: list[str] = []
    for one, answers in zip(specs, per_model, strict=True):
        lines += _model_lines(one.model, loaded, answers, settings.seed)
    if len(per_model) == 2:
        lines += _beside(names, loaded, per_model, settings.seed)
    for one in specs:
        for name in judging:
            lines += judge_lines(settings, one, name)
    return lines


async def run_suites(
    settings: EvaluateSettings, spec: EngineSettings, loaded: Sequence[Loaded], base: Path
) -> dict[str, list[Answer]]:
    """The stored answers of one model to every suite, asked where they are missing."""
    from cai.evaluate import stage
    from cai.evaluate.suite import How
    from cai.store import open_run

    engine = open_engine(spec)
    judge = open_engine(spec.model_copy(update={"model": settings.judge})) if settings.judge else None
    how = How(settings.seed, settings.temperature, settings.max_tokens, judge)
    found: dict[str, list[Answer]] = {}
    try:
        for one in loaded:
            identity = stage.identity(one.suite, engine, how, one.items, settings.attacks)
            name = run_name(settings, spec)
            with (
                open_run(base, name, stage=stage.stage_of(one.suite), identity=identity) as run,
                progress_bar(f"{one.suite.name} {spec.model}") as progress,
            ):
                await stage.evaluate(
                    run, one.suite, engine, how, one.items, concurrency=spec.in_flight, progress=progress
                )
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


def _model_lines(model: str, loaded: Sequence[Loaded], answers: dict[str, list[Answer]], seed: int) -> list[str]:
    from cai.evaluate.scores import scores
    from cai.measures.refusal import AGREEMENT

    lines: list[str] = []
    for one in loaded:
        found = scores(one.suite, answers[one.suite.name], seed)
        lines += ["", plain(f"{model} · {one.suite.name}: {one.suite.about}"), *table_lines(score_table(found), 60)]
        if one.suite.name in ("xstest", "harm"):
            lines.append(f"refusals are read by a classifier: {AGREEMENT}")
    return lines


def score_table(found: Sequence[Score]) -> list[list[str]]:
    """Header and a row per metric and attack."""
    rows = [
        [
            f"{s.metric} [{s.attack}]" if s.attack else s.metric,
            f"{100 * s.value:.1f}",
            "–" if s.low is None or s.high is None else f"{100 * s.low:.1f} to {100 * s.high:.1f}",
            f"{s.n:,}",
            str(s.unread),
            "" if s.worst_value is None else f"{s.worst_category} {100 * s.worst_value:.1f} (n = {s.worst_n})",
        ]
        for s in found
    ]
    return [["%", "mean", "95 % interval", "n", "unread", "worst category"], *rows]


def _beside(
    names: Sequence[str], loaded: Sequence[Loaded], per_model: Sequence[dict[str, list[Answer]]], seed: int
) -> list[str]:
    from cai.evaluate.scores import side_by_side

    a, b = names
    lines = ["", plain(f"{b} minus {a}, the same items")]
    rows = [["%", "difference", "95 % interval", "n", "smallest detectable", "said"]]
    for one in loaded:
        x, y = (answers[one.suite.name] for answers in per_model)
        rows += [_contrast_row(one.suite.name, c) for c in side_by_side(one.suite, a, b, x, y, seed)]
    return [*lines, *table_lines(rows, 60)]


def _contrast_row(suite: str, c: Contrast) -> list[str]:
    from cai.measures.contrast import number

    span = "–" if c.low is None or c.high is None else f"{100 * c.low:.1f} to {100 * c.high:.1f}"
    said = "no difference shown" if not c.shown else {True: "better", False: "worse", None: "differs"}[c.improves]
    detectable = "–" if c.detectable is None else number(c.detectable, c.unit, bare=True)
    return [f"{suite}: {c.outcome}", number(c.difference, c.unit), span, f"{c.n:,}", detectable, said]


def judge_lines(settings: EvaluateSettings, spec: EngineSettings, name: str) -> list[str]:
    """The model as a judge of pairs that people judged: accuracy in both orders, floors, calibration."""
    from cai.judge.exam import HARMLESS, HELPFUL_HARMLESS, examine, given_pairs, two_choice
    from cai.judge.label import Combining
    from cai.judge.panel import Asking, Judge

    if not settings.data:
        raise InputError(f"suite {name} needs data", "give the folder with --data or CAI_DATA", Where("--data"))
    path, n = Path(settings.data) / JUDGE_SUITES[name], settings.limit or DEFAULT_PAIRS
    if name == "hhh":
        files = sorted(path.glob("*.jsonl"))
        if not files:
            raise InputError("no two-choice file", "put the released HHH *.jsonl there", Where(path))
        pairs, principle = two_choice(files[0], n, settings.seed), HELPFUL_HARMLESS
    else:
        pairs, principle = given_pairs(path, n, settings.seed), HARMLESS
    combining = Combining(principle.id, principles="all", inconsistent="tie")

    async def judge() -> Exam:
        engine = open_engine(spec)
        try:
            return await examine(pairs, [Judge(spec.model, engine)], Asking(seed=settings.seed), combining)
        finally:
            await engine.close()

    exam = asyncio.run(judge())
    share, (floor, height) = exam.accuracy, exam.floor
    value = "–" if share.value is None else f"{100 * share.value:.1f} %"
    ece = f"; expected calibration error {exam.measured.ece:.3f}" if exam.measured is not None else ""
    return [
        "",
        plain(f"{spec.model} as a judge on {name}: accuracy {value}, 95 % interval {100 * share.low:.1f} to "
              f"{100 * share.high:.1f}, n = {share.n}; floor {100 * height:.1f} % ({floor}){ece}"),
    ]  # fmt: skip
