"""Activations and rotary angles whose values do not depend on a number's place in a tensor.

On a CPU, exp, tanh, sin and cos come from vector instructions, but the last few numbers of each thread's share of a
tensor go through scalar code, which can round differently. Where the shares end depends on the tensor's size and on the
number of threads, so the same row could come out different in another batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

WHOLE = 64
"""Numbers per round of vector instructions, or a multiple of it."""
SHARE = 32768
"""The most numbers that torch leaves to one thread."""
POSITIONS = 1024


class WholeShares(nn.Module):
    """An activation applied to shares of one thread each, padded so that no number is left to scalar code."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """As the activation."""
        flat = x.reshape(-1)
        missing = -flat.shape[0] % WHOLE
        if missing:
            flat = nn.functional.pad(flat, (0, missing))
        if flat.shape[0] <= SHARE or torch.get_num_threads() == 1:
            out = self.activation(flat)
        else:
            out = torch.cat([self.activation(share) for share in flat.split(SHARE)])
        return out[: x.numel()].view(x.shape)


class RotaryTable(nn.Module):
    """A rotary embedding's cosines and sines looked up by position, computed once in blocks of 1,024 positions."""

    def __init__(self, rotary: nn.Module) -> None:
        super().__init__()
        self.rotary = rotary
        self._tables: dict[tuple[Any, ...], tuple[Tensor, Tensor]] = {}

    def forward(self, x: Tensor, position_ids: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Cosines and sines, [1, N, size], for positions [1, N]."""
        key = (*args, *sorted(kwargs.items()))
        needed = int(position_ids.max()) + 1
        cos, sin = self._tables.get(key, (x.new_empty(0, 0), x.new_empty(0, 0)))
        while cos.shape[0] < needed:
            block = torch.arange(cos.shape[0], cos.shape[0] + POSITIONS, device=x.device)
            more = [part[0] for part in self.rotary(x[:, :1], block[None], *args, **kwargs)]
            cos, sin = (
                torch.cat([old, new]) if old.numel() else new for old, new in zip((cos, sin), more, strict=True)
            )
            self._tables[key] = (cos, sin)
        return cos[position_ids], sin[position_ids]


def use_place_free_functions(model: nn.Module) -> None:
    """Replace every activation and rotary embedding of a model on a CPU; on a GPU each number is computed alike."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if name == "rotary_emb":
                setattr(parent, name, RotaryTable(child))
            elif type(child).__module__ in ("transformers.activations", "torch.nn.modules.activation"):
                setattr(parent, name, WholeShares(child))
