"""A training's whole state in safetensors and JSON: optimizer, schedule, random numbers. Nothing here can run code.

A checkpoint is written under a temporary name, flushed, and renamed, so that a reader sees a whole one or none.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from cai.errors import CaiError, InputError, Where

OPTIMIZER, PROGRESS, STATE = "optimizer.safetensors", "optimizer.json", "trainer_state.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
PREFIX = "checkpoint-"


class NonFinite(CaiError):
    """The loss or its gradient is not a number any more; names the step and the examples in it."""


def moments(state: dict[Any, dict[str, Any]]) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, Any]]]:
    """The `state` half of an optimizer's state dict as tensors by `parameter.name`, and what is no tensor."""
    tensors, plain = dict[str, torch.Tensor](), dict[str, dict[str, Any]]()
    for index, values in state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value.detach().cpu().contiguous()
            else:
                plain.setdefault(str(index), {})[name] = value
    return tensors, plain


def with_moments(tensors: dict[str, torch.Tensor], plain: dict[str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    """What `moments` took apart."""
    state: dict[int | str, dict[str, Any]] = {_key(i): dict(values) for i, values in plain.items()}
    for key, value in tensors.items():
        index, _, name = key.rpartition(".")
        state.setdefault(_key(index), {})[name] = value
    return state


def save_optimizer(folder: Path, state: dict[str, Any], scheduler: Any) -> None:
    """AdamW's moments as tensors, everything else as JSON. `state` is an optimizer's state dict, whole."""
    tensors, plain = moments(state["state"])
    save_file(tensors, folder / OPTIMIZER)
    progress = {"groups": state["param_groups"], "plain": plain, "scheduler": scheduler.state_dict()}
    (folder / PROGRESS).write_text(json.dumps(progress), "utf-8")


def load_optimizer(folder: Path, scheduler: Any) -> dict[str, Any]:
    """Put back the schedule and return the optimizer's state dict that `save_optimizer` wrote."""
    progress = json.loads((folder / PROGRESS).read_text("utf-8"))
    state = with_moments(load_file(folder / OPTIMIZER), progress["plain"])
    groups = [{**g, "betas": tuple(g["betas"])} if "betas" in g else g for g in progress["groups"]]
    scheduler.load_state_dict(progress["scheduler"])
    return {"state": state, "param_groups": groups}


def _key(text: str) -> int | str:
    """Parameters go by number, or by name where they are sharded."""
    return int(text) if text.isdigit() else text


def save_random(folder: Path, process: int) -> None:
    """The state of every random generator of this process."""
    kind, words, position, has_gauss, gauss = np.random.get_state()
    version, internal, next_gauss = random.getstate()
    tensors = {
        "torch": torch.random.get_rng_state(),
        "numpy": torch.from_numpy(np.asarray(words).astype(np.int64)),
        "python": torch.tensor(internal, dtype=torch.int64),
    }
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    plain = {"numpy": [kind, int(position), int(has_gauss), float(gauss)], "python": [version, next_gauss]}
    save_file(tensors, folder / _random_file(process), metadata={"plain": json.dumps(plain)})


def load_random(folder: Path, process: int) -> None:
    """Put back what `save_random` wrote. Raises InputError where this process has none."""
    from safetensors import safe_open

    file = folder / _random_file(process)
    if not file.is_file():
        raise InputError(
            f"the checkpoint has no random state for process {process}",
            "resume with as many processes as it was made with",
            Where(folder),
        )
    tensors = load_file(file)
    with safe_open(file, "pt") as handle:
        plain = json.loads(handle.metadata()["plain"])
    torch.random.set_rng_state(tensors["torch"])
    kind, position, has_gauss, gauss = plain["numpy"]
    np.random.set_state((kind, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, gauss))
    version, next_gauss = plain["python"]
    random.setstate((version, tuple(tensors["python"].tolist()), next_gauss))
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])


def _random_file(process: int) -> str:
    return f"random-{process}.safetensors"


def finish(partial: Path, final: Path) -> None:
    """Flush every file of `partial` to the disk, then give it its name."""
    for file in sorted(partial.rglob("*")):
        if file.is_file():
            _flush(file)
    _flush(partial)
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)
    _flush(final.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints by step, oldest first."""
    found = [p for p in folder.glob(f"{PREFIX}*") if p.name.removeprefix(PREFIX).isdigit()]
    return sorted(found, key=lambda p: int(p.name.removeprefix(PREFIX)))


def keep_last(folder: Path, count: int, best: str | None) -> None:
    """Remove all but the last `count` checkpoints and the best one, and what a killed writer left."""
    for old in checkpoints(folder)[:-count]:
        if best is None or old.name != Path(best).name:
            shutil.rmtree(old)
    for leftover in folder.glob(f".{PREFIX}*"):
        shutil.rmtree(leftover)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint. Raises InputError if anything pickled lies in it: we never wrote that."""
    found = checkpoints(folder)
    if not found:
        return None
    for file in sorted(found[-1].iterdir()):
        if file.suffix in PICKLED:
            raise InputError(
                f"{file.name} is a pickled file, which can run code when it is read",
                "a checkpoint holds safetensors and JSON only; remove that file if you did not put it there",
                Where(found[-1]),
            )
    return found[-1]
