"""Which implementation walks the tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from cai.kernels.batch import HeadBatch
from cai.kernels.fold import Fold
from cai.kernels.fold_torch import fold_torch
from cai.kernels.target_logits import candidate_logits


@dataclass(frozen=True, slots=True)
class Engine:
    """`native`: it stores tiles in the inputs' dtype also on a CPU, where others keep them wide."""

    name: str
    fold: Fold
    dots: Callable[[HeadBatch, Tensor], Tensor]
    native: bool


TORCH = Engine("torch", fold_torch, candidate_logits, native=False)


def choose(name: str, batch: HeadBatch) -> Engine:
    """The engine called `name`; "auto" is the best one for this batch."""
    return TORCH
