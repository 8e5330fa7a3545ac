"""What a training writes while it runs: a line of metrics a step, a bar, and a stop at the end of a step when asked
to.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

METRICS = "metrics.jsonl"
Show = Callable[[int, int, dict[str, float]], None]
"""Called after every step with step, steps in all, and the step's metrics."""


class MetricsLog(TrainerCallback):
    """Appends every log of the trainer to metrics.jsonl; a resumed run first drops rows after its checkpoint."""

    def __init__(self, folder: Path, resumed_step: int, show: Show) -> None:
        self._file, self._show = folder / METRICS, show
        rows = [r for r in read_metrics(folder) if int(r["step"]) <= resumed_step]
        self._file.write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
        self._began = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """One row: a step's, or an evaluation's. Other processes keep quiet."""
        if not state.is_world_process_zero or not logs or "train_runtime" in logs:
            return
        kept = {k: v for k, v in logs.items() if not k.endswith(("_runtime", "_per_second"))}
        row: dict[str, Any] = {"step": state.global_step, **kept}
        if "loss" in logs:
            now = time.perf_counter()
            row["seconds"], self._began = round(now - self._began, 4), now
            row["tokens_per_second"] = round(row.get("tokens", 0) / max(row["seconds"], 1e-9))
            self._show(state.global_step, state.max_steps, row)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Rows of metrics.jsonl; a line that a kill cut short is left out."""
    file = folder / METRICS
    if not file.is_file():
        return []
    rows = list[dict[str, float]]()
    for line in file.read_text("utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


@dataclass(slots=True)
class StopWish:
    """Whether somebody asked to stop, and whether the training has."""

    asked: bool = False
    stopped: bool = False
    before: dict[int, Any] = field(default_factory=dict[int, Any])


class StopAtStep(TrainerCallback):
    """Ends the training after the step in which it was asked to, with a checkpoint."""

    def __init__(self, wish: StopWish) -> None:
        self._wish = wish

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if self._wish.asked:
            self._wish.stopped = True
            control.should_save = control.should_training_stop = True
        return control


@contextmanager
def stop_on_signals() -> Generator[StopWish]:
    """The first Ctrl-C or SIGTERM asks, a second one meets the handler from before."""
    wish = StopWish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return

    def ask(number: int, _: Any) -> None:
        wish.asked = True
        signal.signal(number, wish.before[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        wish.before[number] = signal.signal(number, ask)
    try:
        yield wish
    finally:
        for number, handler in wish.before.items():
            signal.signal(number, handler)
