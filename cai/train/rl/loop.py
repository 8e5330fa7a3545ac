"""The crank of reinforcement learning: roll out, pay, credit, update, sync, watch. It knows no method.

Everything random in a step comes from the run's seed and the step's number, so a run that was killed goes on with the
same curve. One event loop runs the engine's calls from the first step to the last.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import torch

from cai.config.rl import RLSettings
from cai.engine.protocol import EngineDown, EngineFault, TrainableEngine
from cai.records import Prompt
from cai.seeds import seed_for
from cai.store import Interrupted
from cai.train.progress import StopWish, stop_on_signals
from cai.train.rl import state
from cai.train.rl.advantages import kl_estimate
from cai.train.rl.experience import Experience, empty_experience, engine_logp
from cai.train.rl.journal import Journal
from cai.train.rl.kl import KLControl
from cai.train.rl.losses import explained_variance
from cai.train.rl.rewards import Payment, Preference, Reward, RewardSum
from cai.train.rl.rollout import Sample, roll_out
from cai.train.rl.update import Learner, score, total_of, update
from cai.train.rl.watch import Evaluation, distinct_ngrams, signs_of_hacking

Report = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True, slots=True)
class Task:
    """What to learn from: prompts, what replies are paid, and who watches."""

    prompts: Sequence[Prompt]
    watch_prompts: Sequence[Prompt]
    rewards: RewardSum
    held_out: Reward
    preference: Preference | None = None
    describe: Callable[[Sequence[Sample]], dict[str, float]] = lambda samples: {}
    """Shares of the replies to log: refusals, boilerplate, the testbed's attributes."""


class Loop:
    """One run. `go` returns why it ended: `done`, `kl` (past its bound) or `hacking`."""

    def __init__(
        self, learner: Learner, engine: TrainableEngine, task: Task, settings: RLSettings, folder: Path
    ) -> None:
        self.learner, self.engine, self.task, self.settings, self.folder = learner, engine, task, settings, folder
        kl = settings.kl
        self.kl = KLControl(kl.coefficient, kl.target, kl.horizon)
        self.history: list[Evaluation] = []
        self.step = 0
        self.journal = Journal(folder, writes=learner.accelerator.is_main_process)

    def go(self, report: Report = lambda step, metrics: None) -> str:
        """Run, or go on from the newest checkpoint, to the last step.

        Ctrl-C and SIGTERM end it after the step they meet, with a checkpoint: raises Interrupted. An engine that dies
        ends it with a checkpoint of the last whole step: raises EngineDown.
        """
        with asyncio.Runner() as runner, stop_on_signals() as wish:
            self._resume(runner)
            while self.step < self.settings.steps:
                if self.step % self.settings.watch.every == 0 and (reason := self._watch(runner)):
                    return reason
                metrics = self._step(runner)
                self.step += 1
                self.journal.metrics(self.step, metrics)
                report(self.step, metrics)
                if self.step % self.settings.save_every == 0 or self.step == self.settings.steps:
                    self._save()
                stop_at = self.settings.kl.stop_at
                if stop_at is not None and metrics["kl"] > stop_at:
                    self._save()
                    return "kl"
                self._stop_if_asked(wish)
            return self._watch(runner) or "done"

    def _stop_if_asked(self, wish: StopWish) -> None:
        """Save and stop where somebody asked to, in any process; a finished run is not interrupted."""
        if self.step < self.settings.steps and total_of(self.learner, float(wish.asked)) > 0.0:
            self._save()
            raise Interrupted(f"stopped after step {self.step}; the same command goes on from there")

    def _collect(self, runner: asyncio.Runner, clock: list[float]) -> tuple[list[Sample], Payment, Experience]:
        """Draw and pay. Nothing of the step is in the weights yet, so where an engine dies they are worth keeping."""
        try:
            samples = runner.run(self._draw(self._batch(), "rollout", self.settings.rollout.replies))
            clock.append(time.perf_counter())
            payment, experience = runner.run(self._pay(samples))
        except (EngineDown, EngineFault) as cause:
            self._save()
            what = f"an engine failed in step {self.step + 1}: {cause}; the same command goes on from there"
            raise EngineDown(what) from cause
        clock.append(time.perf_counter())
        return samples, payment, experience

    def _step(self, runner: asyncio.Runner) -> dict[str, float]:
        clock = [time.perf_counter()]
        samples, payment, experience = self._collect(runner, clock)
        experience = score(self.learner, experience, self.settings)
        extra = self._parity(experience)
        experience = self.learner.method.credit(self._corrected(experience), self.kl.coefficient)
        if self.learner.method.critic is not None:
            e = experience
            extra["explained_variance"] = explained_variance(e.value_BT, e.return_BT, e.mask_BT)
        losses = update(self.learner, experience, self.kl.coefficient, self.settings, self.step)
        clock.append(time.perf_counter())
        runner.run(self._sync())
        clock.append(time.perf_counter())
        metrics = {**self._measures(experience, payment), **losses, **extra, **self.task.describe(samples)}
        self.kl = self.kl.after(metrics["kl"], len(samples))
        names = ("seconds_rollout", "seconds_reward", "seconds_update", "seconds_sync")
        return {**metrics, **dict(zip(names, (b - a for a, b in pairwise(clock)), strict=True))}

    async def _draw(self, prompts: Sequence[Prompt], stage: str, replies: int) -> list[Sample]:
        rollout = self.settings.rollout
        return await roll_out(
            self.engine,
            prompts,
            replies=replies,
            temperature=rollout.temperature,
            top_p=rollout.top_p,
            max_tokens=rollout.max_tokens,
            run_seed=self.settings.seed,
            step=self.step if stage == "rollout" else 0,
            stage=stage,
        )

    def _batch(self) -> list[Prompt]:
        """This step's prompts of this process: a fresh permutation of all prompts in every pass over them."""
        size, count = self.settings.rollout.prompts_per_step, len(self.task.prompts)
        positions = range(self.step * size, (self.step + 1) * size)
        orders = {p: list(range(count)) for p in {position // count for position in positions}}
        for number, order in orders.items():
            Random(seed_for(self.settings.seed, "order", number)).shuffle(order)
        accelerator = self.learner.accelerator
        mine = positions[accelerator.process_index :: accelerator.num_processes]
        return [self.task.prompts[orders[position // count][position % count]] for position in mine]

    async def _pay(self, samples: list[Sample]) -> tuple[Payment, Experience]:
        """Pay the samples; those without a reward, and where set those cut off, stay out of the update."""
        experience, K = empty_experience(samples, self.settings.rollout.replies), self.settings.rollout.replies
        payment = await self.task.rewards.pay(samples)
        read_B = torch.tensor([value is not None for value in payment.total])
        wins_GKK = None
        if self.task.preference is not None:
            wins_GKK, compared_G = await self._compare(samples, K)
            read_B &= compared_G.repeat_interleave(K)
        if self.learner.method.min_replies > 1:
            # A group's baseline is its other replies: one that nobody could read spoils the whole group.
            read_B = read_B.view(-1, K).all(dim=1).repeat_interleave(K)
        kept_B = read_B.clone()
        if self.settings.reward.drop_truncated:
            kept_B &= torch.tensor([sample.ended for sample in samples])
        reward_B = torch.tensor([value if value is not None else 0.0 for value in payment.total])
        return payment, replace(
            experience,
            reward_B=reward_B,
            kept_B=kept_B.float(),
            mask_BT=experience.mask_BT * kept_B[:, None],
            wins_GKK=wins_GKK,
        )

    async def _compare(self, samples: list[Sample], K: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Preferences within each prompt's replies, and which prompts were read whole."""
        assert self.task.preference is not None
        groups = [samples[i : i + K] for i in range(0, len(samples), K)]
        tables = await asyncio.gather(*(self.task.preference.wins(group) for group in groups))
        whole = [all(p is not None for i, r in enumerate(t) for j, p in enumerate(r) if i != j) for t in tables]
        wins = torch.tensor([[[0.5 if p is None else p for p in row] for row in table] for table in tables])
        return wins, torch.tensor(whole)

    def _parity(self, experience: Experience) -> dict[str, float]:
        """Engine against trainer: how far apart their log-probs of the same tokens are; stale weights show here."""
        every_token_BT = empty_experience(experience.samples, experience.replies).mask_BT.bool()
        gap_N = (experience.old_logp_BT - engine_logp(experience.samples))[every_token_BT]
        return {"parity_mean": float(gap_N.abs().mean()), "parity_max": float(gap_N.abs().max())}

    def _corrected(self, experience: Experience) -> Experience:
        """Truncated importance weights of trainer over engine, where asked for."""
        rollout = self.settings.rollout
        if rollout.correction == "none":
            return experience
        ratio_BT = (experience.old_logp_BT - engine_logp(experience.samples)).exp()
        return replace(experience, weight_BT=experience.weight_BT * ratio_BT.clamp(max=rollout.correction_cap))

    def _measures(self, e: Experience, payment: Payment) -> dict[str, float]:
        """Means over this process's replies of the step; parts of the reward by name."""
        tokens = e.mask_BT.sum().clamp(min=1.0)
        kl_B = (kl_estimate(e.old_logp_BT, e.ref_logp_BT, "k1") * e.mask_BT).sum(dim=1)
        kept = e.kept_B.sum().clamp(min=1.0)
        parts = {f"reward/{name}": _mean(values) for name, values in payment.parts.items()}
        return {
            "reward": _mean(payment.total),
            **parts,
            "kl": float((kl_B * e.kept_B).sum() / kept),
            "kl_coefficient": self.kl.coefficient,
            "entropy": float((e.entropy_BT * e.mask_BT).sum() / tokens),
            "length": sum(len(s.reply_ids) for s in e.samples) / len(e.samples),
            "ended": sum(s.ended for s in e.samples) / len(e.samples),
            "distinct_2": distinct_ngrams([s.text for s in e.samples], 2),
            "left_out": float(len(e.samples) - e.kept_B.sum()),
            "unread": float(sum(value is None for value in payment.total)),
        }

    def _watch(self, runner: asyncio.Runner) -> str | None:
        """Evaluate on the held-out prompts, write transcripts and warnings; a reason to stop, if any."""
        if any(seen.step == self.step for seen in self.history):
            return None
        samples = runner.run(self._draw(self.task.watch_prompts, "watch", 1))
        payment, verdicts = runner.run(self._judge(samples))
        scored = score(self.learner, empty_experience(samples, 1), self.settings)
        kl_BT = kl_estimate(scored.old_logp_BT, scored.ref_logp_BT, "k1") * scored.mask_BT
        seen = Evaluation(
            step=self.step,
            reward_P=_readable(payment.total),
            held_out_P=_readable(verdicts),
            length_P=tuple(float(len(s.reply_ids)) for s in samples),
            distinct_2=distinct_ngrams([s.text for s in samples], 2),
            kl=float(kl_BT.sum() / len(samples)),
        )
        self.history.append(seen)
        found = signs_of_hacking(self.history, self.settings.watch, seed=self.settings.seed)
        self.journal.evaluation(seen, samples[: self.settings.watch.transcripts], self.task.describe(samples), found)
        return "hacking" if found and self.settings.watch.stop_on == "hacking" else None

    async def _judge(self, samples: list[Sample]) -> tuple[Payment, list[float | None]]:
        return await self.task.rewards.pay(samples), await self.task.held_out.score(samples)

    async def _sync(self) -> None:
        """Give the engine the policy's new weights, adapters merged, by the names `transformers` uses."""
        await self.engine.update_weights(policy_weights(self.learner))

    def _save(self) -> None:
        if self.learner.accelerator.is_main_process:
            facts = {"kl": asdict(self.kl), "history": [asdict(seen) for seen in self.history]}
            module = self.learner.accelerator.unwrap_model(self.learner.policy)
            state.save(self.folder / "checkpoints", self.step, module, self._adam(), facts)

    def _resume(self, runner: asyncio.Runner) -> None:
        checkpoint = state.latest(self.folder / "checkpoints")
        if checkpoint is not None:
            module = self.learner.accelerator.unwrap_model(self.learner.policy)
            facts = state.load(checkpoint, module, self._adam())
            self.step, self.kl = facts["step"], KLControl(**facts["kl"])
            self.history = [_evaluation(seen) for seen in facts["history"]]
        self.journal.rewind(self.step, {seen.step for seen in self.history})
        runner.run(self._sync())

    def _adam(self) -> Any:
        return getattr(self.learner.optimizer, "optimizer", self.learner.optimizer)


def policy_weights(learner: Learner) -> list[tuple[str, torch.Tensor]]:
    """The policy's weights as `transformers` names them, with LoRA adapters added into copies.

    Nothing is merged in place: adding an adapter to the frozen weights and taking it off again leaves them rounded, a
    little further from the reference at every step.
    """
    model = learner.accelerator.unwrap_model(learner.policy).model
    if not hasattr(model, "disable_adapter"):
        return list(model.state_dict().items())
    base = model.get_base_model()
    layers = {f"{name}.base_layer.weight": layer for name, layer in base.named_modules() if hasattr(layer, "lora_A")}
    found: list[tuple[str, torch.Tensor]] = []
    for name, value in base.state_dict().items():
        if name in layers:
            with torch.no_grad():
                change = sum(layers[name].get_delta_weight(one).float() for one in layers[name].active_adapters)
            value = (value.float() + change).to(value.dtype)
        if "lora_" not in name:
            found.append((name.replace(".base_layer", ""), value))
    return found


def _mean(values: Sequence[float | None]) -> float:
    read = [value for value in values if value is not None]
    return sum(read) / len(read) if read else math.nan


def _readable(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else value for value in values)


def _evaluation(facts: dict[str, Any]) -> Evaluation:
    per_prompt = {name: tuple(facts[name]) for name in ("reward_P", "held_out_P", "length_P")}
    return Evaluation(**{**facts, **per_prompt})
