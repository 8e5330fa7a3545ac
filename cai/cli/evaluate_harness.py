"""`cai evaluate --lm-eval`: tasks of lm-evaluation-harness through its library, for the alignment tax."""

from __future__ import annotations

import importlib.util
from typing import Any

from cai.cli.engines import check_engine
from cai.cli.table import table_lines
from cai.config.engine import EngineSettings
from cai.errors import InputError, Where

INSTALL = 'pip install "lm-eval[hf]"'


def harness(spec: EngineSettings, tasks: str, limit: int | None) -> list[str]:
    """Run the tasks on a local model; a table of metrics with the harness's own standard errors.

    Raises InputError without the library, for a served model, or for no task at all.
    """
    names = [name.strip() for name in tasks.split(",") if name.strip()]
    if not names:
        raise InputError("no task named", "name tasks by commas: --lm-eval arc_easy,hellaswag", Where("--lm-eval"))
    if spec.kind == "openai":
        raise InputError("these tasks need a local model", "name a model folder or hub name", Where("--engine"))
    if importlib.util.find_spec("lm_eval") is None:
        raise InputError("lm-evaluation-harness is not installed", f"install it: {INSTALL}", Where("--lm-eval"))
    check_engine(spec)
    import lm_eval  # pyright: ignore[reportMissingImports]

    found = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": _folder(spec.model), "trust_remote_code": False, "dtype": spec.dtype or "auto"},
        tasks=names,
        limit=limit,
        apply_chat_template=True,
    )
    return table_lines(_table(found["results"]), 60)


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
