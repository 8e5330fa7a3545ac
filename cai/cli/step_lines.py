"""The lines that a training shows while it runs."""

from __future__ import annotations

import sys

from cai.cli.terminal import duration, title


def show_step(step: int, steps: int, row: dict[str, float]) -> None:
    """Loss, accuracy, margin and speed of a step."""
    parts = [f"loss {row['loss']:.4f}"]
    parts += [f"{name} {row[name]:.3f}" for name in ("accuracy", "margin") if name in row]
    show_row(step, steps, [*parts, f"{row['tokens_per_second']:,} tokens/s"], row["seconds"])


def show_row(step: int, steps: int, parts: list[str], seconds: float) -> None:
    """One moving line on a terminal; elsewhere a line for about every twentieth of the run."""
    moving = sys.stderr.isatty()
    if not moving and step % max(1, steps // 20) and step != steps:
        return
    text = " · ".join([f"{title()}step {step:,}/{steps:,}", *parts, f"{duration((steps - step) * seconds)} left"])
    end = "\n" if not moving or step == steps else ""
    sys.stderr.write((f"\r\x1b[2K{text}" if moving else text) + end)
    sys.stderr.flush()


def show_rl_step(step: int, steps: int, metrics: dict[str, float]) -> None:
    """One line a step on a terminal that moves; elsewhere a line for about every twentieth of the run."""
    names = ("reward", "kl", "length", "entropy")
    seconds = sum(value for name, value in metrics.items() if name.startswith("seconds_"))
    show_row(step, steps, [f"{name} {metrics[name]:.3f}" for name in names if name in metrics], seconds)
