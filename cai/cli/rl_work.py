"""A checked reinforcement job to a trained policy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from cai.cli.rl_job import Job
from cai.cli.terminal import plain
from cai.cli.train_job import first_process
from cai.config.rl import RLSettings

if TYPE_CHECKING:
    from cai.train.rl.loop import Task
    from cai.train.rl.watch import Warned

FAR = 0.02
"""Mean difference of log-probs between engine and trainer from which their rollouts are no longer the policy's own."""


def work(
    job: Job, show: Callable[[int, int, dict[str, float]], None], task_of: Callable[[Job, Any], Task] | None = None
) -> str:
    """Train, or go on training; returns why it ended. Writes the model, the curves and the card.

    `task_of` makes the task from the job and the judge's engine where a caller has rewards that no setting names.
    """
    from cai.cli.rl_build import make_learner, make_task, open_both
    from cai.store.lock import holding
    from cai.train.agreement import agree
    from cai.train.rl.loop import Loop
    from cai.train.rl.outcome import finish

    first = first_process()
    job.folder.mkdir(parents=True, exist_ok=True)
    with holding(job.folder.parent) if first else nullcontext():
        agree(job.folder, job.identity)
        with open_both(job) as (policy, judge):
            learner = make_learner(job)
            loop = Loop(learner, policy, (task_of or make_task)(job, judge), job.settings, job.folder)
            reason = loop.go(_Told(job.settings, show if first else None).step, _tell if first else lambda warned: None)
        if first:
            facts = {"method": job.method, "ended": reason, "constitution": job.constitution.sha, **_facts(job)}
            finish(job.folder, learner, job.base.tokenizer, job.settings, facts)
    return reason


def _facts(job: Job) -> dict[str, Any]:
    return {
        "from": job.settings.model,
        "fingerprint": job.base.files.fingerprint,
        "rewards": {"the judge's comparisons": 1.0} if job.compares else dict(job.sources),
        "held out": job.held_out,
        "prompts": len(job.prompts),
    }


@dataclass(slots=True)
class _Told:
    """Shows every step in one process, and what the first rollout says of engine and trainer."""

    settings: RLSettings
    show: Callable[[int, int, dict[str, float]], None] | None
    parity: bool = False

    def step(self, step: int, metrics: dict[str, float]) -> None:
        if self.show is None:
            return
        if not self.parity:
            far = metrics["parity_mean"] > FAR and self.settings.rollout.correction == "none"
            remedy = "; weigh it with rollout.correction=truncated, or use the trainer's precision" if far else ""
            gap = f"{metrics['parity_mean']:.1e} on average, {metrics['parity_max']:.1e} at most"
            typer.echo(f"first rollout: log-probs of engine and trainer differ by {gap}{remedy}", err=True)
            self.parity = True
        self.show(step, self.settings.steps, metrics)


def _tell(warned: Warned) -> None:
    """A sign of reward hacking, as it is seen."""
    typer.echo(plain(f"warning: step {warned.step}, {warned.name}: {warned.message}"), err=True)
