"""`cai sample`: draw replies and keep those a reward model likes best, at inference time or as data for `sft`."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cai.cli.flags import flag
from cai.cli.prompts import TESTBED, open_prompts
from cai.cli.terminal import one_line, progress_bar
from cai.cli.words import split_words
from cai.config import load_settings
from cai.config.engine import EngineSettings

_E = EngineSettings
SHOWN = 3


class RewardEngine(StrEnum):
    """What can run a reward model."""

    transformers = "transformers"
    vllm = "vllm"


def command(
    reward: Annotated[Path, typer.Option("--reward", help="Run or folder of a trained reward model.")],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[RECIPE.yaml] [engine.key=value]...", show_default=False)
    ] = None,
    prompts: Annotated[
        str, typer.Option("-p", "--prompts", help="File or dataset of prompts, or `testbed`.")
    ] = TESTBED,
    split: Annotated[str, typer.Option("--split", help="Split of a dataset or of the testbed.")] = "",
    model: Annotated[str | None, flag(_E, "model", "-m", "--model")] = None,
    engine: Annotated[str | None, flag(_E, "kind", "--engine")] = None,
    best_of: Annotated[int, typer.Option("--best-of", "-n", min=1, help="Replies drawn for each prompt.")] = 8,
    above: Annotated[
        float | None, typer.Option("--above", help="Keep every reply of at least this normalised reward instead.")
    ] = None,
    run: Annotated[str, typer.Option("-r", "--run", help="Run folder in runs/.")] = "sample",
    reward_engine: Annotated[
        RewardEngine, typer.Option("--reward-engine", help="What runs the reward model: transformers, or vllm.")
    ] = RewardEngine.transformers,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Use only so many prompts.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the draws.")] = 0,
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, help="Sampling temperature.")] = 1.0,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest reply in tokens.")] = 256,
    base: Annotated[Path, typer.Option("--in", help="Folder that holds the runs.")] = Path("runs"),
) -> None:
    """Best-of-N and rejection sampling. Writes `sft.parquet`, which `cai train sft -r RUN` learns from.

    The same command again resumes; drawn replies are kept, so another `--reward` or `--above` needs no new draws.
    """
    recipe, overrides = split_words(words or [])
    spec = load_settings(EngineSettings, "engine", recipe, overrides, {"model": model, "kind": engine})
    asked = open_prompts(prompts, column="", split=split, limit=limit, seed=seed, skip_bad_rows=False)

    from cai.cli.engines import open_engine
    from cai.engine.protocol import Sampling
    from cai.records import Samples
    from cai.store import batches, check_run, open_run, run_stage
    from cai.train.bestof import CHOSEN, STAGE, choose, draw, kl_bound, record_id, rows_of, schema
    from cai.train.rewarding import RewardModel

    known = {
        "best_of": best_of, "seed": seed, "temperature": temperature, "max_tokens": max_tokens,
        "prompts": asked.fingerprint,
    }  # fmt: skip
    check_run(base, run, stage=STAGE, known=known)
    rewards = RewardModel.load(reward if reward.exists() else base / reward, engine=reward_engine.value)
    like = Sampling(0, temperature, max_tokens=max_tokens)
    policy = open_engine(spec)
    identity = {"policy": policy.fingerprint, **known}
    try:
        with open_run(base, run, stage=STAGE, identity=identity) as opened:
            with progress_bar(f"sample {run}") as progress:
                counts = asyncio.run(
                    run_stage(
                        opened,
                        STAGE,
                        asked.prompts,
                        lambda prompt: draw(prompt, policy, best_of, like, seed),
                        key=lambda prompt: record_id(prompt, policy, best_of, like, seed),
                        concurrency=max(1, spec.in_flight // best_of),
                        progress=progress,
                        total=asked.count,
                    )
                )
            stored = (row.body for row in opened.rows(STAGE, Samples) if row.body is not None)
            choices = list(choose(stored, rewards, above))
            rows = rows_of(choices, reward.name, policy.model, seed)
            kept = opened.write_export(CHOSEN, batches(rows, schema()), schema())
    finally:
        asyncio.run(policy.close())
    for choice in choices[:SHOWN]:
        typer.echo(f"{choice.reward:+.2f}  {one_line(choice.reply, 100)}")
    if choices:
        best, mean = (sum(getattr(c, name) for c in choices) / len(choices) for name in ("reward", "mean"))
        typer.echo(f"reward of what is kept {best:+.3f}, of all that was drawn {mean:+.3f} (normalised)")
    if above is None:
        typer.echo(f"KL from the policy: at most {kl_bound(best_of):.2f} nats")
    typer.echo(f"{kept:,} replies of {counts.ok:,} prompts written to {opened.folder / CHOSEN}")
    counts.check_errors()
