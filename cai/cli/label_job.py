"""`cai label` without its flags: settings to a checked job, a job to a run's folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cai.cli.about import surroundings
from cai.cli.prompts import TESTBED, Asked, open_prompts
from cai.cli.terminal import one_line, progress_bar
from cai.config.engine import EngineSettings
from cai.config.label import LabelSettings
from cai.constitution import Constitution, load_constitution
from cai.errors import InputError, Where

if TYPE_CHECKING:
    from cai.engine.protocol import Engine, Sampling
    from cai.judge.diagnostics import Diagnostics
    from cai.judge.label import Candidates, Combining, Task
    from cai.judge.panel import Asking, Judge
    from cai.judge.stage import Work
    from cai.records import Usage
    from cai.store import Counts, Run


@dataclass(frozen=True, slots=True)
class Source:
    """Replies that need no sampling, iterable again and again."""

    open: Callable[[], Iterable[Candidates]]
    count: int | None
    name: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Job:
    """Everything checked that can be checked before a model loads."""

    settings: LabelSettings
    policy: EngineSettings
    judges: dict[str, EngineSettings]
    """By the name their verdicts carry."""
    constitution: Constitution
    asking: Asking
    combining: Combining
    asked: Asked | None
    """Prompts to sample for; None where the replies are there already."""
    source: Source | None
    base: Path

    @property
    def like(self) -> Sampling:
        """How each reply is drawn."""
        from cai.engine.protocol import Sampling

        return Sampling(0, self.settings.temperature, self.settings.top_p, self.settings.max_tokens)

    def price(self, usage: Usage) -> float:
        """Money for so many tokens."""
        return (usage.prompt_tokens * self.settings.price_in + usage.completion_tokens * self.settings.price_out) / 1e6


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished command: what to say, and what decides the exit code."""

    lines: list[str]
    counts: tuple[Counts, ...]
    diagnostics: Diagnostics


def prepare(settings: LabelSettings, spec: EngineSettings, base: Path) -> Job:
    """Check settings, constitution, every input and every model's files. Raises `InputError`."""
    from cai.cli.engines import check_engine
    from cai.judge.draw import judging
    from cai.judge.panel import Asking
    from cai.store.run import run_folder

    _check_settings(settings)
    run_folder(base, settings.run)
    constitution = load_constitution(settings.constitution)
    judging(constitution)
    asking = Asking(
        mode=settings.mode,
        orders=settings.orders,
        best_of=settings.best_of,
        examples=constitution.judge_examples if settings.examples else (),
        cot_samples=settings.cot_samples,
        cot_tokens=settings.cot_tokens,
        cot_clamp=settings.cot_clamp,
        words_tokens=settings.words_tokens,
        seed=settings.seed,
    )
    judges = _named(settings.judges or (spec,))
    for name, engine in judges.items():
        if asking.needs_logprobs and engine.kind == "openai" and engine.openai.top_logprobs == 0:
            what = f"judge {name} gives no log-probs, which mode {settings.mode} reads"
            raise InputError(what, "use --mode text", Where("engine.openai.top_logprobs"))
    source = _source(settings, base)
    asked = None if source else _prompts(settings)
    for engine in (*judges.values(), *((spec,) if asked else ())):
        check_engine(engine)
    return Job(settings, spec, judges, constitution, asking, _combining(settings, constitution), asked, source, base)


def _check_settings(settings: LabelSettings) -> None:
    """Settings that exclude each other."""
    given = [name for name in ("replies", "pairs", "critique") if getattr(settings, name)]
    if len(given) > 1:
        raise InputError(f"--{given[0]} and --{given[1]}", "give one source of replies", Where(f"--{given[1]}"))
    if settings.max_cost is not None and not (settings.price_in or settings.price_out):
        raise InputError("a cost needs a price", "give --price-in and --price-out", Where("--max-cost"))
    if settings.best_of and settings.mode != "list":
        raise InputError("best_of belongs to mode list", "add --mode list", Where("label.best_of"))
    if settings.plan == "tournament" and settings.mode in ("score", "list"):
        what = f"mode {settings.mode} sees all replies at once: there is no tournament to play"
        raise InputError(what, "use --plan all or best-worst", Where("--plan"))
    if settings.panel == "weighted" and not settings.weights:
        what = "weighted judges need learnt weights"
        raise InputError(what, "give label.weights=runs/NAME/weights.json", Where("label.panel"))


def _combining(settings: LabelSettings, constitution: Constitution) -> Combining:
    from cai.judge.label import Combining
    from cai.judge.weights import read_weights

    weights = read_weights(Path(settings.weights)).judges if settings.weights else None
    return Combining(
        constitution.sha, settings.principles, settings.plan, settings.panel, weights, settings.inconsistent
    )


def _named(specs: Iterable[EngineSettings]) -> dict[str, EngineSettings]:
    """Judges by model name, a second one of the same name with a number behind it."""
    found: dict[str, EngineSettings] = {}
    for spec in specs:
        count = sum(other.model == spec.model for other in found.values())
        found[f"{spec.model}#{count + 1}" if count else spec.model] = spec
    return found


def _prompts(settings: LabelSettings) -> Asked:
    """Prompts to sample for; of the testbed those for training, since labels are."""
    return open_prompts(
        settings.prompts,
        column=settings.column,
        split=settings.split or ("train" if settings.prompts == TESTBED else ""),
        limit=settings.limit,
        seed=settings.seed,
        skip_bad_rows=settings.skip_bad_rows,
    )


def _source(settings: LabelSettings, base: Path) -> Source | None:
    """The file or run that holds the replies, read once to find its errors."""
    from cai.judge.given import GivenFile
    from cai.judge.stage import given

    if settings.critique:
        return _revisions(settings, base)
    if not (settings.replies or settings.pairs):
        return None
    path = Path(settings.replies or settings.pairs)
    file = GivenFile(path, "replies" if settings.replies else "pairs", settings.limit)
    count = file.check(skip_bad_rows=settings.skip_bad_rows)
    most = count if settings.limit is None else min(count, settings.limit)
    return Source(lambda: given(file), most, path.name, file.fingerprint())


def _revisions(settings: LabelSettings, base: Path) -> Source:
    """The stored chains of a critique run; it may be the same run or another one."""
    from cai.judge.stage import revised
    from cai.records import Revision
    from cai.store.listing import find_run
    from cai.store.reader import Reader
    from cai.store.run import JOURNAL

    reader = Reader(find_run(base, settings.critique) / JOURNAL)
    identity = reader.identity("critique")
    if identity is None:
        what = f"run {settings.critique!r} holds no critique stage"
        raise InputError(what, "name a run that `cai critique` made", Where("--critique"))

    def chains() -> Iterable[Candidates]:
        stored = (row.body for row in reader.rows("critique", Revision) if row.body is not None)
        return islice(revised(stored), settings.limit)

    return Source(chains, None, f"critique run {settings.critique}", identity)


@contextmanager
def opened(job: Job) -> Generator[tuple[Engine | None, list[Judge]]]:
    """The policy, where replies are sampled, and the judges; each different engine opened once, closed at the end."""
    from cai.cli.engines import open_engine
    from cai.judge.panel import Judge

    specs = [*job.judges.values(), *((job.policy,) if job.asked else ())]
    engines = {text: open_engine(EngineSettings.model_validate_json(text)) for text in dict.fromkeys(map(_text, specs))}
    try:
        judges = [Judge(name, engines[_text(spec)]) for name, spec in job.judges.items()]
        yield (engines[_text(job.policy)] if job.asked else None), judges
    finally:
        for engine in engines.values():
            asyncio.run(engine.close())


def _text(spec: EngineSettings) -> str:
    return spec.model_dump_json()


def announce(job: Job) -> None:
    """Say what was found in the input, and which principles the tiny model cannot know."""
    for note in job.asked.notes if job.asked else ():
        typer.echo(note, err=True)
    if not any(spec.model == "tiny" for spec in job.judges.values()):
        return
    from cai.testbed.world import meaning_of

    for principle in job.constitution.principles:
        if principle.judge and meaning_of(principle.judge) is None:
            name = one_line(principle.id)
            typer.echo(f"warning: the tiny model does not know what {name} asks; expect p near 0.5", err=True)


def work(job: Job) -> Outcome:
    """Run what is still to do and write every output. Raises as `run_stage` does, and `BudgetSpent` after writing."""
    from cai.judge.stage import LABEL, SAMPLES, draw_samples, label_identity, label_tasks, sampled, samples_identity
    from cai.store import BudgetSpent, open_run

    announce(job)
    settings, counts = job.settings, list["Counts"]()
    with opened(job) as (policy, judges):
        source = job.source
        if job.asked is not None and policy is not None:
            how = {"K": settings.samples, "like": job.like, "run_seed": settings.seed}
            made_with = samples_identity(policy, **how)
            with (
                open_run(job.base, settings.run, stage=SAMPLES, identity=made_with) as run,
                _work(job, "samples", job.asked.count, [job.policy]) as driving,
            ):
                counts.append(asyncio.run(draw_samples(run, job.asked.prompts, policy, driving, **how)))
        fingerprint = source.fingerprint if source else SAMPLES
        identity = label_identity(judges, job.asking, job.combining, canaries=settings.canaries, source=fingerprint)
        with open_run(job.base, settings.run, stage=LABEL, identity=identity) as run:
            candidates = source.open() if source else sampled(run)
            total = source.count if source else run.states(SAMPLES)["ok"]
            with _work(job, "label", total, list(job.judges.values())) as driving:
                stage = label_tasks(
                    run, tasks_of(job, candidates), judges, job.asking, job.combining, driving, identity=identity
                )
                try:
                    counts.append(asyncio.run(stage))
                except BudgetSpent:
                    write_outputs(run, job)
                    raise
            lines, found = write_outputs(run, job)
    return Outcome(lines, tuple(counts), found)


def tasks_of(job: Job, candidates: Iterable[Candidates]) -> Iterable[Task]:
    """The tasks of all candidates, principles drawn."""
    from cai.judge.draw import draw_principles
    from cai.judge.label import tasks

    draw = draw_principles(job.constitution, job.settings.principles, job.settings.seed)
    return tasks(candidates, draw, canaries=job.settings.canaries, run_seed=job.settings.seed)


@contextmanager
def _work(job: Job, what: str, total: int | None, specs: list[EngineSettings]) -> Generator[Work]:
    """How a stage is driven, with its progress bar: twice the largest batch at a time keeps the engine busy."""
    from cai.judge.stage import Work
    from cai.store import Budget

    settings = job.settings
    budget = None if settings.max_cost is None else Budget(settings.max_cost, job.price)
    concurrency = max(spec.in_flight for spec in specs)
    with progress_bar(f"{what} {settings.run}") as progress:
        yield Work(concurrency, settings.attempts, settings.max_error_rate, budget, progress, total)


def write_outputs(run: Run, job: Job) -> tuple[list[str], Diagnostics]:
    """Pairs, diagnostics, card, sample for people and about.json from what is stored; the lines to print."""
    from cai.judge import write
    from cai.judge.diagnostics import diagnose
    from cai.judge.report import diagnostics_lines
    from cai.judge.stage import LABEL, labels

    settings, source = job.settings, job.source.name if job.source else job.asked.source if job.asked else ""
    write.write_pairs(run, settings.plan, settings.min_margin)
    found = diagnose(
        labels(run),
        plan=settings.plan,
        min_margin=settings.min_margin,
        max_unread=settings.max_unread,
        prices=(settings.price_in, settings.price_out) if settings.price_in or settings.price_out else None,
    )
    write.write_diagnostics(run, found)
    write.write_card(run, job.constitution, found, source=source, judges=list(job.judges), mode=settings.mode)
    totals = run.totals(LABEL)
    lines = list(diagnostics_lines(found, seconds=totals.seconds))
    if settings.human_fraction:
        voices = {principle.id: principle.judge for principle in job.constitution.principles}
        asked = write.write_people(run, voices, settings.human_fraction, settings.seed)
        lines.append(f"{asked} questions for people in {write.PEOPLE_CSV} and {write.PEOPLE_JSONL}")
    facts = {
        "constitution": {"name": job.constitution.name, "sha": job.constitution.sha},
        "settings": settings.model_dump(mode="json"),
        "policy": job.policy.model_dump(mode="json") if job.asked else None,
        "judges": {name: spec.model_dump(mode="json") for name, spec in job.judges.items()},
        "replies": source,
        "counts": dict(totals.states),
        "usage": totals.usage.model_dump(),
        "seconds": round(totals.seconds, 3),
        "cost": job.price(totals.usage),
    }
    run.write_about({LABEL: facts, **surroundings()})
    return [*lines, f"written to {run.folder}: {write.PAIRS}, {write.DIAGNOSTICS}, {write.CARD}, about.json"], found
