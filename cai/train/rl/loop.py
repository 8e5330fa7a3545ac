"""The crank of reinforcement learning: roll out, pay, credit, update, sync, watch. It knows no method.

Everything random in a step comes from the run's seed and the step's number, so a run that was killed goes on with the
same curve. One event loop runs the engine's calls from the first step to the last.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import torch

from cai.config.rl import RLSettings
from cai.engine.protocol import EngineDown, EngineFault, Resting, TrainableEngine
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
from cai.train.rl.measures import measures, over_processes, parity, readable
from cai.train.rl.policy import policy_weights
from cai.train.rl.rewards import Payment, Preference, Reward, RewardFault, RewardSum, score_with
from cai.train.rl.rollout import Sample, roll_out
from cai.train.rl.update import Learner, score, total_of, update
from cai.train.rl.watch import Evaluation, Warned, distinct_ngrams, signs_of_hacking, signs_of_trouble

Report = Callable[[int, dict[str, float]], None]
Warn = Callable[[Warned], None]
PATIENCE = 3
"""Steps in a row of which no reply could be paid, before the run stops: it would go on for nothing."""


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
        self.first: list[str] | None = None
        """Replies of the first evaluation, which sources that compare measure later ones against."""
        self.step, self.unpaid = 0, 0
        self.stopped: dict[str, Any] = {}
        self.journal = Journal(folder, writes=learner.accelerator.is_main_process)

    def go(self, report: Report = lambda step, metrics: None, warn: Warn = lambda warned: None) -> str:
        """Run, or go on from the newest checkpoint, to the last step.

        Ctrl-C and SIGTERM end it after the step they meet, with a checkpoint: raises Interrupted. An engine that dies
        ends it with a checkpoint of the last whole step: raises EngineDown. So does a reward that is no number:
        RewardFault. A run that stopped by its own rule stays stopped until the rule is another.
        """
        with asyncio.Runner() as runner, stop_on_signals() as wish:
            self._resume(runner)
            if (reason := self._still_stopped()) is not None:
                return reason
            self.stopped = {}
            while self.step < self.settings.steps:
                if self.step % self.settings.watch.every == 0 and self._watch(runner, warn):
                    return self._stop({"reason": "hacking"})
                metrics = self._step(runner)
                self.step += 1
                self.journal.metrics(self.step, metrics)
                report(self.step, metrics)
                if self.step % self.settings.save_every == 0 or self.step == self.settings.steps:
                    self._save()
                stop_at = self.settings.kl.stop_at
                if stop_at is not None and metrics["kl"] > stop_at:
                    self._watch(runner, warn)
                    return self._stop({"reason": "kl", "kl": metrics["kl"]})
                self._stop_if_asked(wish)
            return self._stop({"reason": "hacking"}) if self._watch(runner, warn) else "done"

    def _stop(self, why: dict[str, Any]) -> str:
        self.stopped = why
        self._save()
        return why["reason"]

    def _still_stopped(self) -> str | None:
        """Why the run ended before, if that holds under the settings of today."""
        why, stop_at = self.stopped, self.settings.kl.stop_at
        holds = {
            "hacking": self.settings.watch.stop_on == "hacking",
            "kl": stop_at is not None and why.get("kl", 0.0) > stop_at,
        }
        return why["reason"] if why and holds[why["reason"]] else None

    def _stop_if_asked(self, wish: StopWish) -> None:
        """Save and stop where somebody asked to, in any process; a finished run is not interrupted."""
        if self.step < self.settings.steps and total_of(self.learner, float(wish.asked)) > 0.0:
            self._save()
            raise Interrupted(f"stopped after step {self.step}; the same command goes on from there")

    @contextmanager
    def _keeping(self, what: str) -> Generator[None]:
        """The weights are those of the last whole step: where engine or reward fail, they are worth keeping."""
        try:
            yield
        except (EngineDown, EngineFault) as cause:
            self._save()
            raise EngineDown(f"an engine failed in {what}: {cause}; the same command goes on from there") from cause
        except RewardFault:
            self._save()
            raise

    def _collect(self, runner: asyncio.Runner, clock: list[float]) -> tuple[list[Sample], Payment, Experience]:
        """Draw and pay."""
        with self._keeping(f"step {self.step + 1}"):
            samples = runner.run(self._draw(self._batch(), "rollout", self.settings.rollout.replies))
            clock.append(time.perf_counter())
            payment, experience = runner.run(self._pay(samples))
            self._give_up_unpaid(payment, experience)
        clock.append(time.perf_counter())
        return samples, payment, experience

    def _give_up_unpaid(self, payment: Payment, experience: Experience) -> None:
        """Raise RewardFault once there was nothing to learn from for several steps."""
        self.unpaid = 0 if total_of(self.learner, float(experience.kept_B.sum())) > 0.0 else self.unpaid + 1
        if self.unpaid == PATIENCE:
            unread, cut = sum(v is None for v in payment.total), sum(not s.ended for s in experience.samples)
            asked = ", ".join(sorted({sample.prompt.id for sample in experience.samples})[:8])
            what = f"no reply of the last {PATIENCE} steps could be learnt from"
            raise RewardFault(f"{what}; of the last step's, {unread} were unread and {cut} cut off; prompts {asked}")

    def _step(self, runner: asyncio.Runner) -> dict[str, float]:
        clock = [time.perf_counter()]
        samples, payment, experience = self._collect(runner, clock)
        runner.run(self._rest())
        experience = score(self.learner, experience, self.settings)
        extra = parity(experience)
        experience = self.learner.method.credit(self._corrected(experience), self.kl.coefficient)
        if self.learner.method.critic is not None:
            e = experience
            extra["explained_variance"] = explained_variance(e.value_BT, e.return_BT, e.mask_BT)
        losses = update(self.learner, experience, self.kl.coefficient, self.settings, self.step)
        clock.append(time.perf_counter())
        runner.run(self._sync())
        clock.append(time.perf_counter())
        seen = {**measures(experience, payment, self.kl.coefficient), **losses, **extra, **self.task.describe(samples)}
        names = ("seconds_rollout", "seconds_reward", "seconds_update", "seconds_sync")
        seen |= dict(zip(names, (b - a for a, b in pairwise(clock)), strict=True))
        metrics, drawn = over_processes(seen, self.learner.accelerator), total_of(self.learner, float(len(samples)))
        if metrics["left_out"] < drawn:
            self.kl = self.kl.after(metrics["kl"], int(drawn))
        return metrics

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

    def _corrected(self, experience: Experience) -> Experience:
        """Truncated importance weights of trainer over engine, where asked for."""
        rollout = self.settings.rollout
        if rollout.correction == "none":
            return experience
        ratio_BT = (experience.old_logp_BT - engine_logp(experience.samples)).exp()
        return replace(experience, weight_BT=experience.weight_BT * ratio_BT.clamp(max=rollout.correction_cap))

    def _watch(self, runner: asyncio.Runner, warn: Warn) -> bool:
        """Evaluate on the held-out prompts, write transcripts and warnings; True where hacking shall stop the run."""
        if any(seen.step == self.step for seen in self.history):
            return False
        with self._keeping(f"the evaluation after step {self.step}"):
            samples = runner.run(self._draw(self.task.watch_prompts, "watch", 1))
            first = self.first or [sample.text for sample in samples]
            reward_P, held_out_P = runner.run(self._judge(samples, first))
        self.first = first
        scored = score(self.learner, empty_experience(samples, 1), self.settings)
        kl_BT = kl_estimate(scored.old_logp_BT, scored.ref_logp_BT, "k1") * scored.mask_BT
        seen = Evaluation(
            step=self.step,
            reward_P=readable(reward_P),
            held_out_P=readable(held_out_P),
            length_P=tuple(float(len(s.reply_ids)) for s in samples),
            distinct_2=distinct_ngrams([s.text for s in samples], 2),
            kl=float(kl_BT.sum() / len(samples)),
        )
        self.history.append(seen)
        hacking = signs_of_hacking(self.history, self.settings.watch, seed=self.settings.seed)
        found = (*hacking, *signs_of_trouble(seen))
        self.journal.evaluation(seen, samples[: self.settings.watch.transcripts], self.task.describe(samples), found)
        for warned in found:
            warn(warned)
        return self.settings.watch.stop_on == "hacking" and total_of(self.learner, float(len(hacking))) > 0.0

    async def _judge(self, samples: list[Sample], first: list[str]) -> tuple[Sequence[Any], Sequence[Any]]:
        """What the replies would be paid, and what the held-out judge says of them."""
        if self.task.preference is not None:
            paid: Sequence[float | None] = await self.task.preference.against(samples, first)
        else:
            paid = (await self.task.rewards.pay(samples, first)).total
        return paid, await score_with(self.task.held_out, samples, first)

    async def _rest(self) -> None:
        """Where engine and trainer share a GPU, the engine lends its memory until the new weights arrive."""
        if isinstance(self.engine, Resting):
            await self.engine.rest()

    async def _sync(self) -> None:
        """Give the engine the policy's new weights, adapters merged, by the names `transformers` uses."""
        if isinstance(self.engine, Resting):
            await self.engine.wake()
        await self.engine.update_weights(policy_weights(self.learner.accelerator.unwrap_model(self.learner.policy)))

    def _save(self) -> None:
        if self.learner.accelerator.is_main_process:
            facts = {
                "kl": asdict(self.kl), "history": [asdict(seen) for seen in self.history], "first": self.first,
                "stopped": self.stopped,
            }  # fmt: skip
            module = self.learner.accelerator.unwrap_model(self.learner.policy)
            state.save(self.folder / "checkpoints", self.step, module, self._adam(), facts)

    def _resume(self, runner: asyncio.Runner) -> None:
        checkpoint = state.latest(self.folder / "checkpoints")
        if checkpoint is not None:
            module = self.learner.accelerator.unwrap_model(self.learner.policy)
            facts = state.load(checkpoint, module, self._adam())
            self.step, self.kl = facts["step"], KLControl(**facts["kl"])
            self.history = [_evaluation(seen) for seen in facts["history"]]
            self.first, self.stopped = facts["first"], facts["stopped"]
        self.journal.rewind(self.step, {seen.step for seen in self.history})
        runner.run(self._sync())

    def _adam(self) -> Any:
        return getattr(self.learner.optimizer, "optimizer", self.learner.optimizer)


def _evaluation(facts: dict[str, Any]) -> Evaluation:
    per_prompt = {name: tuple(facts[name]) for name in ("reward_P", "held_out_P", "length_P")}
    return Evaluation(**{**facts, **per_prompt})
