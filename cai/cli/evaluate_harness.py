"""`cai evaluate --lm-eval`: tasks of lm-evaluation-harness through its library, for the alignment tax."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai.cli.engines import check_engine
from cai.cli.evaluate_job import run_name
from cai.cli.evaluate_tables import contrast_rows, difference_lines
from cai.cli.table import table_lines
from cai.cli.terminal import plain, progress_bar
from cai.config.engine import EngineSettings
from cai.config.evaluate import EvaluateSettings
from cai.errors import InputError, Where
from cai.strict_yaml import did_you_mean

if TYPE_CHECKING:
    from cai.evaluate.harness import Harnessed

INSTALL = 'pip install "cai[lm-eval]"'


def harness(settings: EvaluateSettings, spec: EngineSettings, tasks: str, base: Path) -> list[str]:
    """Run the tasks on a local model, and on the one beside it; a table each, and the paired differences.

    Raises InputError without the library, for a served model, for an unknown task, or for no task at all.
    """
    names = [_task(name.strip()) for name in tasks.split(",") if name.strip()]
    if not names:
        raise InputError("no task named", "name tasks by commas: --lm-eval arc_easy,hellaswag", Where("--lm-eval"))
    specs = [spec, *([spec.model_copy(update={"model": settings.beside})] if settings.beside else [])]
    for one in specs:
        if one.kind != "transformers":
            remedy = "the library loads the model itself: leave --engine out, and name a model folder or hub name"
            raise InputError("these tasks need a local model", remedy, Where("--engine"))
    if importlib.util.find_spec("lm_eval") is None:
        raise InputError("lm-evaluation-harness is not installed", f"install it: {INSTALL}", Where("--lm-eval"))
    for one in specs:
        check_engine(one)
    manager = _known(names)
    found = [asyncio.run(_take(settings, one, names, manager, base)) for one in specs]
    lines: list[str] = []
    for one, results in zip(specs, found, strict=True):
        lines += ["", plain(f"{one.model} · lm-evaluation-harness"), *table_lines(_table(results), 60)]
    if len(found) == 2:
        from cai.evaluate.harness import taxes

        a, b = spec.model, settings.beside
        lines += difference_lines(a, b, contrast_rows("", taxes(a, b, found[0], found[1], settings.seed)))
    return lines[1:]


def _known(names: Sequence[str]) -> Any:
    """The library's table of tasks. Raises InputError for a name it does not know."""
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

    manager = TaskManager()
    for name in names:
        if not name.endswith((".yaml", ".yml")) and name not in manager.all_tasks:
            remedy = did_you_mean(name, manager.all_tasks) or "`lm-eval ls tasks` lists those there are"
            raise InputError(f"lm-evaluation-harness has no task {name!r}", remedy, Where("--lm-eval"))
    return manager


async def _take(
    settings: EvaluateSettings, spec: EngineSettings, names: Sequence[str], manager: Any, base: Path
) -> list[Harnessed]:
    """One model's results, task by task into its run: the same command again runs only what is missing."""
    from cai.engine.files import find_model, under_adapter
    from cai.evaluate.harness import STAGE, VERSION, Harnessed, read_results
    from cai.store import open_run, run_stage

    files = find_model(_folder(spec.model), spec.revision)
    model: list[Any] = []  # loaded for the first task that is missing

    async def work(name: str) -> Harnessed:
        if not model:
            model.append(_load(spec, str(files.folder)))
        return read_results(_short(name), _simple(model[0], name, manager, settings))

    identity = {
        "version": VERSION,
        "model": under_adapter(files.fingerprint, spec.adapter),
        "dtype": spec.dtype,
        "limit": settings.limit,
        "seed": settings.seed,
    }
    with (
        open_run(base, run_name(settings, spec), stage=STAGE, identity=identity) as run,
        progress_bar(f"lm-eval {spec.model}") as progress,
    ):
        counts = await run_stage(run, STAGE, names, work, key=_key, concurrency=1, progress=progress, total=len(names))
        counts.check_errors()
        wanted = {_key(name) for name in names}
        results = [row.body for row in run.rows(STAGE, Harnessed) if row.body is not None and row.key in wanted]
        figures = [figure.model_dump() for result in results for figure in result.figures]
        run.write_text("lm-eval.json", json.dumps(figures, indent=1, ensure_ascii=True) + "\n")
        return results


def _load(spec: EngineSettings, folder: str) -> Any:
    from lm_eval.models.huggingface import HFLM  # pyright: ignore[reportMissingImports]

    return HFLM(
        pretrained=folder,
        trust_remote_code=False,
        dtype=spec.dtype or "auto",
        device=_device(spec.device),
        batch_size=spec.batch_size or 1,
        **({"peft": spec.adapter} if spec.adapter else {}),
    )


def _simple(model: Any, name: str, manager: Any, settings: EvaluateSettings) -> Any:
    import lm_eval  # pyright: ignore[reportMissingImports]

    seed = settings.seed
    return lm_eval.simple_evaluate(
        model=model,
        tasks=[name],
        task_manager=manager,
        limit=settings.limit,
        apply_chat_template=True,
        random_seed=seed,
        numpy_random_seed=seed,
        torch_random_seed=seed,
        fewshot_random_seed=seed,
    )


def _task(name: str) -> str:
    """A task's name, or the whole path of a task file of one's own. Raises InputError for a file that is not there."""
    if not name.endswith((".yaml", ".yml")):
        return name
    if not Path(name).is_file():
        raise InputError("no such task file", "name a task of the library or a task's YAML file", Where(Path(name)))
    return str(Path(name).absolute())


def _short(name: str) -> str:
    """A task's name without the folders of this machine."""
    return Path(name).name if name.endswith((".yaml", ".yml")) else name


def _key(name: str) -> str:
    """A task of one's own is another one once its text has changed."""
    from cai.seeds import content_id

    return content_id(_short(name), Path(name).read_text("utf-8") if _short(name) != name else "")


def _device(device: str) -> str:
    """The device's name; the library takes CUDA unasked, also where there is none."""
    import torch

    return device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def _folder(model: str) -> str:
    from cai.testbed import TINY

    return str(TINY) if model == "tiny" else model


def _table(results: Sequence[Harnessed]) -> list[list[str]]:
    rows = [["task", "metric", "value", "standard error"]]
    for figure in (figure for result in results for figure in result.figures):
        error = "–" if figure.error is None else f"{figure.error:.4f}"
        rows.append([figure.task, figure.metric, f"{figure.value:.4f}", error])
    return rows
