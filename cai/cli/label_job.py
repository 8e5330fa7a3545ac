"""`cai label` without its flags: settings to a checked job, a job to a run's folder."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from cai.cli.label_choice import Choice, open_choice
from cai.cli.label_sources import Source, open_source, prompts_of
from cai.cli.prompts import Asked
from cai.cli.terminal import one_line
from cai.config.engine import EngineSettings
from cai.config.label import LabelSettings
from cai.constitution import Constitution, load_constitution
from cai.errors import InputError, Where

if TYPE_CHECKING:
    from cai.engine.protocol import Engine, Sampling
    from cai.judge.label import Candidates, Combining, Task
    from cai.judge.panel import Asking, Judge
    from cai.records import Usage

T = TypeVar("T")


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
    choice: Choice | None
    """What narrows each prompt's replies down to two."""
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
    source, choice = open_source(settings, base), open_choice(settings)
    asked = None if source else prompts_of(settings)
    for engine in (*judges.values(), *((spec,) if asked else ())):
        check_engine(engine)
    combining = _combining(settings, constitution)
    return Job(settings, spec, judges, constitution, asking, combining, choice, asked, source, base)


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


def open_engines(job: Job) -> tuple[Engine | None, list[Judge]]:
    """The policy, where replies are sampled, and the judges; each different engine is opened once."""
    from cai.cli.engines import open_engines as open_all
    from cai.judge.panel import Judge

    specs = [*job.judges.values(), *((job.policy,) if job.asked else ())]
    engines = open_all(specs)
    judges = [Judge(name, engines[_text(spec)]) for name, spec in job.judges.items()]
    return (engines[_text(job.policy)] if job.asked else None), judges


async def closing(policy: Engine | None, judges: list[Judge], working: Awaitable[T]) -> T:
    """Await `working`, then close the engines in the same event loop, which holds their connections."""
    try:
        return await working
    finally:
        engines = [*([policy] if policy else []), *(judge.engine for judge in judges)]
        for engine in {id(engine): engine for engine in engines}.values():
            await engine.close()


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


def tasks_of(job: Job, candidates: Iterable[Candidates]) -> Iterable[Task]:
    """The tasks of all candidates, narrowed down where that is asked for, principles drawn."""
    from cai.judge.draw import draw_principles
    from cai.judge.label import tasks

    narrow = job.choice.load() if job.choice else None
    draw = draw_principles(job.constitution, job.settings.principles, job.settings.seed)
    return tasks(candidates, draw, canaries=job.settings.canaries, run_seed=job.settings.seed, narrow=narrow)
