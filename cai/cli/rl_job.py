"""`cai train ppo` and its kin without flags: settings to a checked job, a job to a trained policy."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cai.cli.prompts import TESTBED
from cai.cli.rl_prompts import learning_prompts, with_room
from cai.cli.rl_sources import check_source, needs_judge, split_weight
from cai.config.engine import EngineSettings
from cai.config.rl import RLSettings
from cai.config.train import TrainSettings
from cai.constitution import Constitution, load_constitution
from cai.errors import InputError, Where

if TYPE_CHECKING:
    from cai.records import Prompt
    from cai.train.loading import Base


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
    left_out: int
    """Prompts too long to answer."""
    sources: tuple[tuple[str, float], ...]
    compares: bool
    """Whether the judge's comparisons are used as they are, in place of a reward for each reply."""
    held_out: str
    folder: Path

    @property
    def judged(self) -> bool:
        """Whether anything asks the judge."""
        return self.compares or needs_judge([*(name for name, _ in self.sources), self.held_out])

    @property
    def identity(self) -> dict[str, Any]:
        """What the weights depend on; a resumed run must agree in all of it but how far it goes and when it stops."""
        outside = dict.fromkeys(
            ("run", "model", "reference", "rewards", "steps", "save_every", "judge", "engine"), True
        )
        stops: dict[str, Any] = {"watch": {"stop_on"}, "kl": {"stop_at"}}
        return {
            "method": self.method,
            "settings": self.settings.model_dump(exclude={**outside, **stops}, mode="json"),
            "model": self.base.files.fingerprint,
            "reference": "" if self.reference is None else self.reference.files.fingerprint,
            "rewards": [[_fingerprint(name), weight] for name, weight in self.sources],
            "judge": _judge_id(self.settings.judge) if self.judged else "",
            "constitution": self.constitution.sha,
            "held_out_constitution": self.held_out_constitution.sha,
            "prompts": [prompt.id for prompt in self.prompts],
            "watch_prompts": [prompt.id for prompt in self.watch_prompts],
            "ptx_data": _sha(Path(self.settings.ptx_data)) if self.settings.ptx_data else "",
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
    asked, watch = learning_prompts(settings)
    sources = tuple(split_weight(entry) for entry in settings.rewards)
    # The judge's comparisons, where nothing else pays, are preferences already: no reward is made of them and back.
    compares = method == "spo" or (method == "online-dpo" and sources == (("wins", 1.0),))
    paid = ("wins",) if compares else tuple(name for name, _ in sources)
    held_out = _held_out(settings, paid, same=held_constitution.sha == constitution.sha)
    _check_paid(paid, settings, constitution)
    check_source(held_out, held_constitution)
    opened = open_base(TrainSettings(model=settings.model))
    check_engine(settings.engine.model_copy(update={"model": settings.model}))
    if needs_judge([*paid, held_out]):
        check_engine(settings.judge)
    reference = open_base(TrainSettings(model=settings.reference)) if settings.reference else None
    prompts, watched = with_room(asked, opened, settings), with_room(watch, opened, settings)
    if len(prompts) < settings.rollout.prompts_per_step:
        what = f"a step asks {settings.rollout.prompts_per_step} prompts; there are {len(prompts)} to learn on"
        raise InputError(
            what, "lower it, and raise rollout.replies for more replies", Where("rl.rollout.prompts_per_step")
        )
    left_out = len(asked) + len(watch) - len(prompts) - len(watched)
    return Job(
        method, settings, constitution, held_constitution, opened, reference, prompts, watched, left_out,
        () if compares else sources, compares, held_out, folder,
    )  # fmt: skip


def _held_out(settings: RLSettings, paid: Sequence[str], *, same: bool) -> str:
    """Who watches: what was asked for, else the oracle on testbed requests, else a judge that does not pay.

    Raises InputError for a judge that pays too, under the `same` constitution.
    """
    if settings.held_out == "auto":
        if settings.prompts == TESTBED and not settings.watch_prompts:
            return "oracle"
        found = next((name for name in ("judge", "wins") if name not in paid), "judge")
    else:
        found = settings.held_out
    judged = needs_judge([found])
    if found in paid and (same or not judged):
        what = f"{found} pays the policy, so it cannot watch over it"
        raise InputError(what, "name another judge, or a held_out_constitution", Where("rl.held_out"))
    return found


def _check_paid(paid: Sequence[str], settings: RLSettings, constitution: Constitution) -> None:
    """Every source exists, is named once, and can tell something of these rollouts."""
    for name, count in Counter(paid).items():
        if name == "oracle":
            what = "the oracle is the testbed's truth and never a reward"
            raise InputError(what, "reward by `judge`, and watch by `held_out: oracle`", Where("rl.rewards"))
        if count > 1:
            raise InputError(f"{name} is named {count} times", "name it once, with one weight", Where("rl.rewards"))
        if name == "wins" and settings.rollout.replies < 2:
            what = "wins compares a reply with the prompt's others"
            raise InputError(what, "use at least 2", Where("rl.rollout.replies"))
        check_source(name, constitution)
    if not paid:
        raise InputError("nothing pays", "name at least one reward", Where("rl.rewards"))


def _fingerprint(source: str) -> str:
    """A reward model by its files, whatever its folder is called; any other source by its name."""
    if not Path(source).is_dir():
        return source
    from cai.train.rewarding import reward_fingerprint

    return reward_fingerprint(Path(source))


def _judge_id(spec: EngineSettings) -> str:
    """A local judge by its weights, one elsewhere by where and what it is."""
    from cai.cli.engines import model_folder
    from cai.engine.files import find_model, under_adapter

    if spec.kind in ("openai", "ray"):
        return f"{spec.openai.base_url if spec.kind == 'openai' else 'ray'} {spec.model} {spec.adapter}"
    return under_adapter(find_model(model_folder(spec.model), spec.revision).fingerprint, spec.adapter)


def _sha(file: Path) -> str:
    """Of a file's content; nothing where there is none, which its reader will tell."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def _check_settings(method: str, settings: RLSettings) -> None:
    """Settings that exclude each other."""
    rollout = settings.rollout
    if method != "ppo" and rollout.replies < 2:
        raise InputError(f"{method} compares replies", "use at least 2", Where("rl.rollout.replies"))
    if method == "spo" and [split_weight(entry) for entry in settings.rewards] != [("wins", 1.0)]:
        what = "spo is paid by the judge's comparisons alone"
        raise InputError(what, "leave the rewards out, or use grpo", Where("rl.rewards"))
    if rollout.correction != "none" and rollout.top_p < 1.0:
        what = "importance weights are biased when top_p cuts the distribution"
        raise InputError(what, "set top_p to 1 or correction to none", Where("rl.rollout.correction"))
    if settings.engine.kind == "openai" and "base_url" not in settings.engine.openai.model_fields_set:
        what = "only a vLLM server of this machine can follow the training"
        raise InputError(
            what, "give its address, or use the engine transformers or vllm", Where("rl.engine.openai.base_url")
        )
    if (settings.ppo.ptx > 0) != bool(settings.ptx_data):
        what = "the supervised mix needs both its weight and its data"
        raise InputError(what, "give ppo.ptx and ptx_data, or neither", Where("rl.ppo.ptx"))
    if settings.ppo.ptx > 0 and method != "ppo":
        raise InputError("the supervised mix belongs to ppo", f"leave it out of {method}", Where("rl.ppo.ptx"))
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if rollout.prompts_per_step // processes < settings.update.minibatches:
        what = "more minibatches than prompts" + (f" in each of {processes} processes" if processes > 1 else "")
        raise InputError(what, "lower it", Where("rl.update.minibatches"))


def announce(job: Job) -> None:
    """Say what is about to happen, in a few lines."""
    rewards = ", ".join(f"{name} x {weight:g}" for name, weight in job.sources) or "the judge's comparisons"
    if job.left_out:
        room = f"a reply of {job.settings.rollout.max_tokens} tokens"
        typer.echo(f"{job.left_out:,} prompts are left out: they leave no room for {room}", err=True)
    typer.echo(f"{job.method}: {len(job.prompts):,} prompts, {job.settings.steps} steps, paid by {rewards}", err=True)
    typer.echo(f"watched on {len(job.watch_prompts)} held-out prompts by {job.held_out}", err=True)
