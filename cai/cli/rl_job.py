"""`cai train ppo` and its kin without flags: settings to a checked job, a job to a trained policy."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cai.cli.prompts import TESTBED, open_prompts
from cai.cli.rl_sources import JudgeWins, check_source, needs_judge, open_source, split_weight
from cai.config.rl import RLSettings
from cai.config.train import TrainSettings
from cai.constitution import Constitution, load_constitution
from cai.errors import InputError, Where

if TYPE_CHECKING:
    from cai.engine.protocol import Engine
    from cai.records import Prompt
    from cai.train.loading import Base
    from cai.train.rl.loop import Task
    from cai.train.rl.rollout import Sample
    from cai.train.rl.update import Learner

TRAIN_PROMPTS = 2000
"""Testbed requests where no limit is given."""


@dataclass(frozen=True, slots=True)
class Job:
    """Everything checked that can be checked before a model loads."""

    method: str
    settings: RLSettings
    constitution: Constitution
    held_out_constitution: Constitution
    base: Base
    reference: Base | None
    """Where the KL is measured to, if that is not where the policy starts."""
    prompts: tuple[Prompt, ...]
    watch_prompts: tuple[Prompt, ...]
    sources: tuple[tuple[str, float], ...]
    held_out: str
    folder: Path

    @property
    def identity(self) -> dict[str, Any]:
        """What the weights depend on; a resumed run must agree in all of it but the number of steps."""
        outside = {"run", "model", "reference", "rewards", "steps", "save_every", "judge", "engine"}
        return {
            "method": self.method,
            "settings": self.settings.model_dump(exclude=outside, mode="json"),
            "model": self.base.files.fingerprint,
            "reference": "" if self.reference is None else self.reference.files.fingerprint,
            "rewards": [[_fingerprint(name), weight] for name, weight in self.sources],
            "judge": self.settings.judge.model,
            "constitution": self.constitution.sha,
            "prompts": [prompt.id for prompt in self.prompts],
        }


def prepare(method: str, settings: RLSettings, base: Path) -> Job:
    """Check settings, constitution, prompts, sources and every model's files. Raises `InputError`."""
    from cai.cli.engines import check_engine
    from cai.store.run import run_folder
    from cai.train.loading import open_base

    _check_settings(method, settings)
    folder = run_folder(base, settings.run) / method
    constitution = load_constitution(settings.constitution)
    held_constitution = load_constitution(settings.held_out_constitution or settings.constitution)
    prompts, watch = learning_prompts(settings)
    sources = tuple(split_weight(entry) for entry in settings.rewards) if method != "spo" else ()
    held_out = settings.held_out
    if held_out == "auto":
        held_out = "oracle" if settings.prompts == TESTBED else "judge"
    for name, _ in sources:
        if name == "oracle":
            what = "the oracle is the testbed's truth and never a reward"
            raise InputError(what, "reward by `judge`, and watch by `held_out: oracle`", Where("rl.rewards"))
        check_source(name, constitution)
    check_source(held_out, held_constitution)
    opened = open_base(TrainSettings(model=settings.model))
    if needs_judge([*(name for name, _ in sources), held_out]) or method == "spo":
        check_engine(settings.judge)
    reference = open_base(TrainSettings(model=settings.reference)) if settings.reference else None
    return Job(
        method, settings, constitution, held_constitution, opened, reference, prompts, watch, sources, held_out, folder
    )


def _fingerprint(source: str) -> str:
    """A reward model by its files, whatever its folder is called; any other source by its name."""
    from cai.engine.files import find_model
    from cai.seeds import content_id

    if not Path(source).is_dir():
        return source
    from cai.train.rewarding import member_folders

    return content_id("rewards", [find_model(str(place)).fingerprint for place in member_folders(Path(source))])


def _check_settings(method: str, settings: RLSettings) -> None:
    """Settings that exclude each other."""
    rollout = settings.rollout
    if method != "ppo" and rollout.replies < 2:
        raise InputError(f"{method} compares replies", "use at least 2", Where("rl.rollout.replies"))
    if rollout.correction != "none" and rollout.top_p < 1.0:
        what = "importance weights are biased when top_p cuts the distribution"
        raise InputError(what, "set top_p to 1 or correction to none", Where("rl.rollout.correction"))
    if settings.engine.kind == "openai":
        what = "a server's weights cannot follow the training"
        raise InputError(what, "use the engine transformers or vllm", Where("rl.engine.kind"))
    if (settings.ppo.ptx > 0) != bool(settings.ptx_data):
        what = "the supervised mix needs both its weight and its data"
        raise InputError(what, "give ppo.ptx and ptx_data, or neither", Where("rl.ppo.ptx"))
    if settings.ppo.ptx > 0 and method != "ppo":
        raise InputError("the supervised mix belongs to ppo", f"leave it out of {method}", Where("rl.ppo.ptx"))
    if settings.rollout.prompts_per_step < settings.update.minibatches:
        raise InputError("more minibatches than prompts", "lower it", Where("rl.update.minibatches"))


def learning_prompts(settings: RLSettings) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
    """Prompts to learn on and prompts to watch; none is in both."""

    def read(name: str, split: str, limit: int | None) -> tuple[Prompt, ...]:
        asked = open_prompts(
            name, column=settings.column, split=split, limit=limit, seed=settings.seed, skip_bad_rows=False
        )
        return tuple(asked.prompts)

    count = settings.watch.prompts
    if settings.prompts == TESTBED:
        learn = read(TESTBED, settings.split or "train", settings.limit or TRAIN_PROMPTS)
        return learn, read(settings.watch_prompts or TESTBED, "validation", count)
    everything = read(settings.prompts, settings.split, settings.limit)
    if settings.watch_prompts:
        watch = read(settings.watch_prompts, settings.split, count)
        held = {prompt.id for prompt in watch}
        everything = tuple(prompt for prompt in everything if prompt.id not in held)
    else:
        watch, everything = everything[:count], everything[count:]
    if not everything:
        what = f"{settings.prompts} has no prompts left to learn on once {len(watch)} are held out"
        raise InputError(what, "give more prompts, or fewer for rl.watch.prompts", Where("rl.watch.prompts"))
    return everything, watch


def work(job: Job, show: Callable[[int, int, dict[str, float]], None]) -> str:
    """Train, or go on training; returns why it ended. Writes the model, the curves and the card."""
    from cai.store.lock import holding
    from cai.train.rl.loop import Loop
    from cai.train.rl.outcome import agree, finish

    first = os.environ.get("RANK", "0") == "0"
    job.folder.mkdir(parents=True, exist_ok=True)
    with holding(job.folder.parent) if first else nullcontext():
        agree(job.folder, job.identity)
        with _engines(job) as (policy, judge):
            learner = _learner(job)
            loop = Loop(learner, policy, _task(job, judge), job.settings, job.folder)
            reason = loop.go(lambda step, metrics: show(step, job.settings.steps, metrics))
        if first:
            facts = {"method": job.method, "ended": reason, "constitution": job.constitution.sha, **_facts(job)}
            finish(job.folder, learner, job.base.tokenizer, job.settings, facts)
    return reason


def _facts(job: Job) -> dict[str, Any]:
    return {
        "from": job.settings.model,
        "fingerprint": job.base.files.fingerprint,
        "rewards": dict(job.sources),
        "held out": job.held_out,
        "prompts": len(job.prompts),
    }


@contextmanager
def _engines(job: Job) -> Generator[tuple[Any, Engine | None]]:
    """The rollouts' engine, and the judge's where one is asked; both closed at the end."""
    from cai.cli.engines import open_engine

    spec = job.settings.engine.model_copy(update={"model": job.settings.model})
    policy = open_engine(spec)
    names = [*(name for name, _ in job.sources), job.held_out]
    judged = needs_judge(names) or job.method == "spo"
    judge = open_engine(job.settings.judge) if judged else None
    try:
        yield policy, judge
    finally:
        for engine in (policy, judge):
            if engine is not None:
                asyncio.run(engine.close())


def _learner(job: Job) -> Learner:
    import torch
    from accelerate import Accelerator

    from cai.train.loading import attention_of, load_policy, lora, pad_for
    from cai.train.rl.methods import method_of
    from cai.train.rl.policy import Policy, Reference
    from cai.train.rl.update import Learner

    settings = job.settings
    precision = "bf16" if settings.dtype == "bfloat16" else "fp32"
    train = TrainSettings(model=settings.model, lora_rank=settings.lora_rank, precision=precision)
    mixed = "bf16" if precision == "bf16" else "no"
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision=mixed)
    torch.manual_seed(settings.seed)
    model = load_policy(job.base, train)
    adapter = lora(train, "CAUSAL_LM")
    if adapter is not None:
        from peft import get_peft_model

        model = get_peft_model(model, adapter)
    method = method_of(job.method, settings)
    policy = Policy(model, critic=method.critic).eval()
    other = None if job.reference is None else load_policy(job.reference, train)
    reference = Reference(policy, other).to(accelerator.device)
    trained = [p for p in policy.parameters() if p.requires_grad]
    rate, decay = settings.update.learning_rate, settings.update.weight_decay
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=decay)
    prepared, optimizer = accelerator.prepare(policy, optimizer)
    return Learner(
        accelerator,
        prepared,
        reference,
        optimizer,
        method,
        pad_for(job.base.tokenizer, job.base.tokenise.end),
        attention_of(policy.model, job.base.limit),
        _ptx(job) if settings.ppo.ptx > 0 else None,
    )


def _task(job: Job, judge: Engine | None) -> Task:
    from cai.train.rl.loop import Task
    from cai.train.rl.rewards import RewardSum, length_term, missing_end_term, repetition_term

    settings, terms = job.settings, job.settings.reward
    penalty, seed = terms.std_penalty, settings.seed
    costs = (
        ("length", length_term, -terms.length_cost),
        ("missing_end", missing_end_term, -terms.missing_end),
        ("repetition", repetition_term, -terms.repetition),
    )
    sources = [
        (open_source(name, job.constitution, judge, seed=seed, penalty=penalty), weight) for name, weight in job.sources
    ]
    held_out = open_source(job.held_out, job.held_out_constitution, judge, seed=seed + 1, penalty=0.0)
    preference = None
    if job.method == "spo":
        assert judge is not None
        preference = JudgeWins(judge, tuple(p for p in job.constitution.principles if p.judge), seed)
    return Task(
        prompts=job.prompts,
        watch_prompts=job.watch_prompts,
        rewards=RewardSum(tuple(sources), tuple(cost for cost in costs if cost[2] != 0.0), terms.clip),
        held_out=held_out,
        preference=preference,
        describe=_describe,
    )


def _describe(samples: Sequence[Sample]) -> dict[str, float]:
    """Shares of refusals and of boilerplate, and on testbed requests the oracle's attributes."""
    from cai.judge.wording import boilerplate
    from cai.measures.refusal import refuses
    from cai.testbed.oracle import read

    n = len(samples)
    shares = {
        "refusals": sum(refuses(s.text) for s in samples) / n,
        "boilerplate": sum(boilerplate(s.text) for s in samples) / n,
    }
    readings = [read(s.prompt, s.text) for s in samples]
    harmful = [r for r in readings if r.kind == "harmful"]
    others = [r for r in readings if r.kind not in ("harmful", None)]
    if harmful:
        shares["oracle_harmful"] = sum(r.harmful for r in harmful) / len(harmful)
    if others:
        shares["oracle_helpful"] = sum(r.helpful for r in others) / len(others)
    return shares


def _ptx(job: Job) -> Callable[[Any, int, int], Any]:
    from cai.train.loading import pad_for
    from cai.train.rl.ptx import SupervisedMix

    settings = job.settings
    mix = SupervisedMix.read(Path(settings.ptx_data), job.base.tokenise, job.base.limit, seed=settings.seed)
    return mix.loss_with(settings.rollout.prompts_per_step, pad_for(job.base.tokenizer, job.base.tokenise.end))


def announce(job: Job) -> None:
    """Say what is about to happen, in a few lines."""
    rewards = ", ".join(f"{name} x {weight:g}" for name, weight in job.sources) or "the judge's comparisons"
    typer.echo(f"{job.method}: {len(job.prompts):,} prompts, {job.settings.steps} steps, paid by {rewards}", err=True)
    typer.echo(f"watched on {len(job.watch_prompts)} held-out prompts by {job.held_out}", err=True)
