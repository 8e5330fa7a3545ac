"""The reinforcement methods of `cai train`: settings, plan, and a moving line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from cai.cli.step_lines import show_rl_step
from cai.cli.terminal import plain
from cai.cli.train_job import first_process
from cai.config import load_settings
from cai.config.rl import RLSettings
from cai.errors import CaiError


class StoppedEarly(CaiError):
    """The run ended before its last step for a reason that was asked for; what it learnt is written."""


def train_rl(
    method: str,
    recipe: Path | None,
    overrides: Sequence[str],
    flags: Mapping[str, object],
    *,
    stop_on: str | None,
    dry_run: bool,
    base: Path,
) -> None:
    """Check everything, say what will happen, train; the same command again resumes."""
    from cai.cli.rl_job import announce, prepare
    from cai.cli.rl_work import work

    stop = [] if stop_on is None else [f"rl.watch.stop_on={stop_on}"]
    settings = load_settings(RLSettings, "rl", recipe, [*overrides, *stop], flags)
    job = prepare(method, settings, base)
    first = first_process()
    if first:
        announce(job)
    if dry_run:
        return
    reason = work(job, show_rl_step)
    if not first:
        return
    for name, path in (("model", "model"), ("curves", "curves.svg"), ("reward against KL", "reward-kl.svg")):
        typer.echo(f"{name}: {job.folder / path}")
    if reason != "done":
        raise StoppedEarly(_reason(reason, job.folder, settings))


def _reason(reason: str, folder: Path, settings: RLSettings) -> str:
    from cai.train.rl.journal import Journal

    if reason == "kl":
        return f"stopped: the KL of a reply passed kl.stop_at {settings.kl.stop_at}"
    last = Journal(folder, writes=False).warnings()[-1]
    return f"stopped at step {last['step']} by {last['name']}: {plain(last['message'])}"
