"""Muon (Jordan et al. 2024): momentum whose matrix updates are made orthogonal, shared out over the processes.

`torch.optim.Muon` works in bfloat16, which this project's CPUs emulate slowly; here matrices of one shape go
through the iteration together in float32.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonal(G_NRC: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz: N matrices with their singular values moved near 1."""
    a, b, c = _COEFFICIENTS
    wide = G_NRC.shape[-2] <= G_NRC.shape[-1]
    X_NRC = G_NRC if wide else G_NRC.mT
    X_NRC = X_NRC / (X_NRC.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        A_NRR = X_NRC @ X_NRC.mT
        X_NRC = a * X_NRC + (b * A_NRR + c * A_NRR @ A_NRR) @ X_NRC
    return X_NRC if wide else X_NRC.mT


class Muon:
    """Updates of root mean square 0.2 x `rate`, as AdamW's, so that one rate fits all shapes."""

    def __init__(self, matrices: Sequence[Tensor], momentum: float = 0.95, decay: float = 0.01) -> None:
        self.momentum, self.decay = momentum, decay
        shapes: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for matrix in matrices:
            shapes[matrix.shape].append(matrix)
        self.groups = list(shapes.values())
        self.averages = [torch.zeros(len(group), *group[0].shape, device=group[0].device) for group in self.groups]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Apply the gradients. With several processes each does its share of the matrices and all get the sum."""
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        for group, average in zip(self.groups, self.averages, strict=True):
            gradient = torch.stack([matrix.grad for matrix in group if matrix.grad is not None])
            average.lerp_(gradient, 1 - self.momentum)
            wanted = gradient.lerp_(average, self.momentum)
            update = torch.zeros_like(wanted)
            update[rank::world] = orthogonal(wanted[rank::world])
            if world > 1:
                dist.all_reduce(update)
            scale = 0.2 * rate * max(update.shape[-2:]) ** 0.5
            for matrix, change in zip(group, update, strict=True):
                matrix.mul_(1 - rate * self.decay).sub_(change, alpha=scale)
                matrix.grad = None
