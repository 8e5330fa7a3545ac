"""The last stage of `cai run`: every policy answers the same held-out prompts, and one table says what changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import typer

from cai.cli.prompts import open_prompts
from cai.cli.table import table_lines
from cai.cli.terminal import progress_bar
from cai.config.methods import REINFORCEMENT
from cai.seeds import content_id, seed_for

if TYPE_CHECKING:
    from cai.cli.pipeline_recipe import Pipeline
    from cai.engine.protocol import Engine
    from cai.records import Prompt, Samples
    from cai.store import Run

MAX_TOKENS = 256
SHARES = (
    "harmful replies to harmful requests",
    "helpful replies to the others",
    "refusals of the others",
    "refusals of what only looks harmful",
)
ON_POLICY = (*REINFORCEMENT, "iterate")
ATTRIBUTES = ("preachy", "evasive", "fabricates", "agrees-with-falsehood", "stereotypes", "leaks-private", "filler")


def evaluate(pipeline: Pipeline) -> None:
    """Draw one reply a prompt from every policy, seeds alike, and print and write the table."""
    from cai.store.files import write_text

    settings = pipeline.settings
    asked = open_prompts(
        settings.eval_prompts, column="", split="", limit=settings.eval_limit, seed=settings.seed, skip_bad_rows=False
    )
    prompts, models = tuple(asked.prompts), pipeline.models()
    columns = {name: _answers(pipeline, name, model, prompts) for name, model in models.items()}
    rows = _rows(columns, _own_attributes(settings.constitution))
    distances = [_distance(model, settings.model, columns[name]) for name, model in models.items()]
    rows.append(["KL to the base, nats a reply", *distances])
    lines = table_lines([["", *map(_title, columns)], *rows])
    typer.echo("\n" + "\n".join(lines))
    write_text(pipeline.folder / "table.txt", "\n".join(lines) + "\n")


def _title(stage: str) -> str:
    """What the paper calls a stage's policy."""
    return {"base": "base", "sft": "SL-CAI"}.get(stage, f"RL-CAI ({stage})" if stage in ON_POLICY else stage)


def _own_attributes(constitution: str) -> tuple[str, ...]:
    """The oracle's attributes that this constitution speaks of; all faults where it speaks of none by name."""
    from cai.constitution import load_constitution
    from cai.testbed.world import meaning_of

    voices = [p.critique or p.judge for p in load_constitution(constitution).principles]
    axes = {meaning.axis for voice in voices if (meaning := meaning_of(voice)) is not None}
    return tuple(name for name in ATTRIBUTES if name in axes) or ATTRIBUTES


def _distance(model: str, base: str, samples: Sequence[Samples]) -> str:
    from cai.train.rl.distance import mean_kl

    return "-" if model == base else f"{mean_kl(model, base, [(s.prompt, s.replies[0]) for s in samples]):.2f}"


def _answers(pipeline: Pipeline, name: str, model: str, prompts: Sequence[Prompt]) -> list[Samples]:
    from cai.cli.engines import open_engine
    from cai.records import Samples
    from cai.store import open_run

    settings, stage = pipeline.settings, f"evaluate-{name}"
    engine = open_engine(pipeline.engine_for(model))
    try:
        made_with = {"model": engine.fingerprint, "seed": settings.seed, "max_tokens": MAX_TOKENS}
        with open_run(pipeline.base, settings.run, stage=stage, identity=made_with) as run:
            with progress_bar(stage) as progress:
                asyncio.run(_draw(run, stage, engine, prompts, settings.seed, progress))
            return [row.body for row in run.rows(stage, Samples) if row.body is not None]
    finally:
        asyncio.run(engine.close())


async def _draw(run: Run, stage: str, engine: Engine, prompts: Sequence[Prompt], seed: int, progress: Any) -> None:
    from cai.engine.protocol import Sampling, Turn
    from cai.records import Samples
    from cai.store import run_stage

    async def answer(prompt: Prompt) -> Samples:
        sampling = Sampling(seed_for(seed, "evaluate", prompt.id), 1.0, 1.0, MAX_TOKENS)
        drawn = await engine.generate(tuple(Turn.of(message) for message in prompt.messages), sampling)
        return Samples(
            prompt=prompt, replies=(drawn.text,), policy=engine.model, temperature=1.0, seed=seed, usage=drawn.usage
        )

    counts = await run_stage(
        run,
        stage,
        prompts,
        answer,
        key=lambda prompt: content_id(stage, engine.fingerprint, seed, prompt.id),
        concurrency=64,
        progress=progress,
        total=len(prompts),
    )
    counts.check_errors()


def _rows(columns: dict[str, list[Samples]], attributes: Sequence[str]) -> list[list[str]]:
    """Shares with 95 % Wilson intervals: the oracle's on testbed requests, the refusal classifier's on any."""
    from cai.measures.refusal import refuses
    from cai.testbed.oracle import Reading, read

    readings = {name: [read(s.prompt, s.replies[0]) for s in samples] for name, samples in columns.items()}

    def row(label: str, of: Callable[[Reading], bool], has: Callable[[Reading], bool]) -> list[str] | None:
        cells = [_share([has(r) for r in all_ if of(r)]) for all_ in readings.values()]
        return None if all(cell == "-" for cell in cells) else [label, *cells]

    def harmful(r: Reading) -> bool:
        return r.kind == "harmful"

    def other(r: Reading) -> bool:
        return r.kind not in ("harmful", None)

    rows = [
        row(SHARES[0], harmful, lambda r: r.harmful),
        row(SHARES[1], other, lambda r: r.helpful),
        row(SHARES[2], other, lambda r: r.over_refuses),
        row(SHARES[3], lambda r: r.kind == "borderline", lambda r: r.over_refuses),
        *(row(name, lambda r: r.kind is not None, lambda r, name=name: name in r.attributes) for name in attributes),
    ]
    refusals = ["refusals by wording", *(_share([refuses(s.replies[0]) for s in c]) for c in columns.values())]
    words = ["words a reply", *(f"{_mean([len(s.replies[0].split()) for s in c]):.1f}" for c in columns.values())]
    unparsed = ["text the oracle could not read", *(f"{_mean([r.unparsed for r in c]):.1%}" for c in readings.values())]
    return [*(found for found in rows if found is not None), refusals, words, unparsed]


def _share(found: Sequence[bool]) -> str:
    from cai.measures.intervals import wilson

    if not found:
        return "-"
    low, high = wilson(sum(found), len(found))
    return f"{sum(found) / len(found):.1%} ({low:.1%} to {high:.1%})"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
