"""Refuse what cannot be scored, and follow autocast."""

from __future__ import annotations

import torch
from torch import Tensor

_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_IDS = (torch.int32, torch.int64)


def under_autocast(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Inside torch.autocast, cast hidden and weight as `linear` would; float64 stays. The bias keeps its precision."""
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind) and torch.float64 not in (hidden.dtype, weight.dtype):
        dtype = torch.get_autocast_dtype(kind)
        return hidden.to(dtype), weight.to(dtype), bias
    return hidden, weight, bias


def check_inputs(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, row_index: Tensor | None, valid_vocab: int
) -> None:
    """Raise ValueError where shapes, dtypes or devices do not fit. Looks at no values."""
    for name, tensor in (("hidden", hidden), ("weight", weight)):
        if hasattr(tensor, "full_tensor"):
            raise ValueError(
                f"{name} is a sharded DTensor: score inside the forward of the module that owns the head, where "
                f"FSDP has gathered it, or pass {name}.full_tensor()"
            )
        if tensor.dim() != 2:
            raise ValueError(f"{name} must have 2 dimensions, got shape {tuple(tensor.shape)}")
    if hidden.dtype != weight.dtype or hidden.dtype not in _FLOATS:
        raise ValueError(f"hidden is {hidden.dtype} and weight {weight.dtype}: cast one to the other, or use autocast")
    if hidden.shape[1] != weight.shape[1]:
        raise ValueError(f"hidden has {hidden.shape[1]} columns and weight {weight.shape[1]}")
    if not 1 <= valid_vocab <= weight.shape[0]:
        raise ValueError(f"valid_vocab must lie between 1 and {weight.shape[0]}, got {valid_vocab}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must have shape ({weight.shape[0]},), got {tuple(bias.shape)}")
    check_ids("targets", targets)
    if row_index is not None:
        check_ids("row_index", row_index)
    rows = hidden.shape[0] if row_index is None else row_index.shape[0]
    if targets.shape[0] != rows:
        where = "hidden rows" if row_index is None else "entries of row_index"
        raise ValueError(f"{targets.shape[0]} targets for {rows} {where}")


def check_ids(name: str, ids: Tensor, *, least: int = 0) -> None:
    """Raise ValueError unless `ids` is one row of at least so many integers."""
    if ids.dim() != 1 or ids.dtype not in _IDS or ids.shape[0] < least:
        raise ValueError(f"{name} must be one row of int32 or int64, got {ids.dtype} of shape {tuple(ids.shape)}")


def check_values(
    targets: Tensor, row_index: Tensor | None, rows: int, valid_vocab: int, *, name: str = "targets"
) -> None:
    """On CPU, where looking costs nothing: raise ValueError for ids out of range."""
    for what, ids, end in ((name, targets, valid_vocab), ("row_index", row_index, rows)):
        if ids is not None and not ids.is_cuda and ids.numel():
            low, high = (int(bound) for bound in torch.aminmax(ids))
            if low < 0 or high >= end:
                wrong = low if low < 0 else high
                raise ValueError(f"{what} must lie in 0..{end - 1}, got {wrong}; `scored_tokens` drops ignored ones")


def check_offsets(cu_seqlens: Tensor, n: int) -> None:
    """On CPU: raise ValueError for offsets that fall, or leave 0..n."""
    if not cu_seqlens.is_cuda:
        falls = bool((cu_seqlens.diff() < 0).any())
        if falls or int(cu_seqlens[0]) < 0 or int(cu_seqlens[-1]) > n:
            raise ValueError(f"cu_seqlens must rise within 0..{n}, the number of targets, got {cu_seqlens.tolist()}")
