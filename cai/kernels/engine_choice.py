"""Which engine is fastest here: measured once per device, head shape and dtype, then remembered in a user's file.

The file is `$CAI_KERNELS_CACHE`, else `kernels.json` under the user's cache folder. Delete it to measure again.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from cai.kernels.batch import HeadBatch
from cai.kernels.fold import Fold

_ROWS = 2048
_REPEATS = 5
_remembered: dict[str, str] = {}


def cache_file() -> Path:
    """Where choices are kept."""
    if named := os.environ.get("CAI_KERNELS_CACHE"):
        return Path(named)
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "cai" / "kernels.json"


def key_of(batch: HeadBatch) -> str:
    """Device and its architecture, D, V, dtype, versions: what a timing depends on."""
    import triton

    device = batch.hidden_ND.device
    name = "cpu"
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        name = f"{torch.cuda.get_device_name(device)} sm{major}{minor}"
    shape = f"D{batch.hidden_ND.shape[1]} V{batch.vocab} {batch.hidden_ND.dtype}"
    return f"{name} | {shape} | torch {torch.__version__} triton {triton.__version__}"


def fastest(folds: Mapping[str, Fold], batch: HeadBatch) -> str:
    """Name of the fastest fold for heads like this batch's."""
    if len(folds) == 1:
        return next(iter(folds))
    key = key_of(batch)
    if key not in _remembered:
        known = _read(cache_file()).get(key)
        if known is not None and known in folds:
            _remembered[key] = known
        elif batch.n == 0 or (batch.hidden_ND.is_cuda and torch.cuda.is_current_stream_capturing()):
            return next(iter(folds))  # nothing can be timed now; a later call will
        else:
            seconds = {name: measure(fold, batch) for name, fold in folds.items()}
            _remembered[key] = min(seconds, key=lambda name: seconds[name])
            _write(cache_file(), key, _remembered[key])
    return _remembered[key]


def measure(fold: Fold, batch: HeadBatch) -> float:
    """Median seconds of a forward fold of 2,048 rows like these, however few there are, after a call that compiles.

    The choice outlives the batch: made on a judge's one row it would rule over training.
    """
    part = batch.take(torch.arange(_ROWS, device=batch.hidden_ND.device) % batch.n)
    shift_N = part.new_wide(part.n)
    seconds = []
    for _ in range(_REPEATS + 1):
        _wait(part)
        start = time.perf_counter()
        fold(part, 0, part.vocab, shift_N)
        _wait(part)
        seconds.append(time.perf_counter() - start)
    return sorted(seconds[1:])[_REPEATS // 2]


def _wait(batch: HeadBatch) -> None:
    if batch.hidden_ND.is_cuda:
        torch.cuda.synchronize(batch.hidden_ND.device)


def _read(path: Path) -> dict[str, str]:
    try:
        table = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        warnings.warn(f"{path}: engine choices unreadable ({error}); measuring again", RuntimeWarning, stacklevel=2)
        return {}
    return table if isinstance(table, dict) else {}


def _write(path: Path, key: str, name: str) -> None:
    """Replace the file as a whole, so that a process beside this one never reads half of it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        table = {**_read(path), key: name}
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(table, file, indent=1, sort_keys=True)
        Path(file.name).replace(path)
    except OSError as error:
        warnings.warn(f"{path}: engine choice not kept ({error})", RuntimeWarning, stacklevel=2)
