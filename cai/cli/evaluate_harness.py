"""`cai evaluate --lm-eval`: tasks of lm-evaluation-harness through its library, for the alignment tax."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from cai.cli.engines import check_engine
from cai.cli.table import table_lines
from cai.config.engine import EngineSettings
from cai.errors import InputError, Where
from cai.strict_yaml import did_you_mean

INSTALL = 'pip install "lm-eval[hf]"'


def harness(spec: EngineSettings, tasks: str, limit: int | None) -> list[str]:
    """Run the tasks on a local model; a table of metrics with the harness's own standard errors.

    Raises InputError without the library, for a served model, or for no task at all.
    """
    names = [_task(name.strip()) for name in tasks.split(",") if name.strip()]
    if not names:
        raise InputError("no task named", "name tasks by commas: --lm-eval arc_easy,hellaswag", Where("--lm-eval"))
    if spec.kind == "openai":
        raise InputError("these tasks need a local model", "name a model folder or hub name", Where("--engine"))
    if importlib.util.find_spec("lm_eval") is None:
        raise InputError("lm-evaluation-harness is not installed", f"install it: {INSTALL}", Where("--lm-eval"))
    check_engine(spec)
    import lm_eval  # pyright: ignore[reportMissingImports]
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

    manager = TaskManager()
    for name in names:
        if not name.endswith((".yaml", ".yml")) and name not in manager.all_tasks:
            remedy = did_you_mean(name, manager.all_tasks) or "`lm-eval ls tasks` lists those there are"
            raise InputError(f"lm-evaluation-harness has no task {name!r}", remedy, Where("--lm-eval"))
    found = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": _folder(spec.model), "trust_remote_code": False, "dtype": spec.dtype or "auto"},
        tasks=names,
        task_manager=manager,
        device=_device(spec.device),
        limit=limit,
        apply_chat_template=True,
    )
    return table_lines(_table(found["results"]), 60)


def _task(name: str) -> str:
    """A task's name, or the whole path of a task file of one's own. Raises InputError for a file that is not there."""
    if not name.endswith((".yaml", ".yml")):
        return name
    if not Path(name).is_file():
        raise InputError("no such task file", "name a task of the library or a task's YAML file", Where(Path(name)))
    return str(Path(name).absolute())


def _device(device: str) -> str:
    """The device's name; the library takes CUDA unasked, also where there is none."""
    import torch

    return device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def _folder(model: str) -> str:
    from cai.testbed import TINY

    return str(TINY) if model == "tiny" else model


def _table(results: dict[str, dict[str, Any]]) -> list[list[str]]:
    rows = [["task", "metric", "value", "standard error"]]
    for task, metrics in results.items():
        for name, value in metrics.items():
            if "_stderr" not in name and isinstance(value, int | float):
                metric, _, kind = name.partition(",")
                error = metrics.get(f"{metric}_stderr,{kind}")
                rows.append([task, metric, f"{value:.4f}", f"{error:.4f}" if isinstance(error, float) else "–"])
    return rows
