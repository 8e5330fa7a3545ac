"""The table of tile shapes. Looked up, never searched: nothing is tuned at import or at first use."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class TileConfig:
    """Rows, columns and depth of a tile; row blocks that share head tiles; tiles per slab; launch settings."""

    rows: int
    columns: int
    depth: int
    group: int
    slab: int
    warps: int
    stages: int
    per_processor: int
    halves: bool
    flatten: bool
    tma: bool


# Small and ragged against every test shape; the interpreter is slow, not parallel.
INTERPRETER = TileConfig(32, 64, 32, 2, 4, 4, 1, 1, halves=False, flatten=False, tma=False)


@dataclass(frozen=True, slots=True)
class _Entry:
    arch: int
    max_hidden: int
    size: int
    config: TileConfig


@cache
def _entries() -> tuple[_Entry, ...]:
    table = json.loads(files("cai.kernels").joinpath("tuned.json").read_text())
    entries = []
    for row in table["entries"]:
        arch, max_hidden, size = row.pop("arch"), row.pop("max_hidden"), row.pop("bytes")
        row.pop("measured")
        entries.append(_Entry(arch, max_hidden, size, TileConfig(**row)))
    return tuple(entries)


def tuned_config(hidden_ND: Tensor, hidden: int) -> TileConfig:
    """The first entry of the table that fits; architecture 0 fits every device."""
    if not hidden_ND.is_cuda:
        return INTERPRETER
    major, minor = torch.cuda.get_device_capability(hidden_ND.device)
    for entry in _entries():
        fits = entry.arch in (0, 10 * major + minor) and hidden <= entry.max_hidden
        if fits and entry.size == hidden_ND.element_size():
            return entry.config
    raise LookupError(f"no tile shape for {hidden_ND.dtype}, hidden size {hidden}")
