"""Engines, learner and task of a checked reinforcement job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai.cli.rl_sources import JudgeWins, open_source, shown_names
from cai.config.train import TrainSettings
from cai.errors import InputError

if TYPE_CHECKING:
    from cai.cli.rl_job import Job
    from cai.config.engine import EngineSettings
    from cai.engine.protocol import Engine, TrainableEngine
    from cai.train.rl.loop import Task
    from cai.train.rl.rollout import Sample
    from cai.train.rl.update import Learner


@contextmanager
def open_both(job: Job) -> Generator[tuple[Any, Engine | None]]:
    """The rollouts' engine, and the judge's where one is asked; both closed at the end."""
    from cai.cli.engines import open_engine

    spec = job.settings.engine.model_copy(update={"model": job.settings.model})
    policy = open_engine(spec) if spec.kind != "openai" else _served(spec)
    judge = open_engine(job.settings.judge) if job.judged else None
    try:
        yield policy, judge
    finally:
        for engine in (policy, judge):
            if engine is not None:
                asyncio.run(engine.close())


def _served(spec: EngineSettings) -> TrainableEngine:
    """The policy on a vLLM server; its model setting names the folder the weights come from, not what is served."""
    from cai.cli.engines import model_folder
    from cai.engine.served_policy import open_served_policy

    return open_served_policy(spec, model_folder(spec.model))


def make_learner(job: Job) -> Learner:
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
    if accelerator.distributed_type.value not in ("NO", "MULTI_GPU", "MULTI_CPU"):
        what = f"reinforcement keeps the whole policy on every device; {accelerator.distributed_type.value} shards it"
        raise InputError(what, "use LoRA (lora_rank), or plain data parallelism")
    torch.manual_seed(settings.seed)
    model = load_policy(job.base, train)
    adapter = lora(train, model, "CAUSAL_LM")
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


def make_task(job: Job, judge: Engine | None) -> Task:
    from cai.train.rl.loop import Task
    from cai.train.rl.rewards import RewardSum, length_term, missing_end_term, repetition_term

    settings, terms = job.settings, job.settings.reward
    penalty, seed = terms.std_penalty, settings.seed
    costs = (
        ("length", length_term, -terms.length_cost),
        ("missing_end", missing_end_term, -terms.missing_end),
        ("repetition", repetition_term, -terms.repetition),
    )
    shown = shown_names([*(name for name, _ in job.sources), job.held_out])
    at_once = asyncio.Semaphore(settings.judge.in_flight)
    common: dict[str, Any] = {"judge": judge, "at_once": at_once, "engine": terms.engine}
    sources = [
        (open_source(name, title, job.constitution, seed=seed, penalty=penalty, **common), weight)
        for (name, weight), title in zip(job.sources, shown, strict=False)
    ]
    held_out = open_source(job.held_out, shown[-1], job.held_out_constitution, seed=seed + 1, penalty=0.0, **common)
    preference = None
    if job.compares:
        assert judge is not None
        preference = JudgeWins(judge, tuple(p for p in job.constitution.principles if p.judge), seed, at_once)
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
