"""Metrics as sums and counts, so that a mean over micro-batches and processes is a mean over examples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Facts = dict[str, tuple[Tensor, int]]
"""Name to (sum, how many it is over)."""


@dataclass(slots=True)
class Tally:
    """What was added since the last reading."""

    sums: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    counts: dict[str, int] = field(default_factory=dict[str, int])

    def add(self, facts: Facts) -> None:
        for name, (total, count) in facts.items():
            value = total.detach().double().cpu()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + count

    def means(self, accelerator: Any) -> dict[str, float]:
        """Mean of each over all processes; empties the tally. Every process has the same names."""
        names = sorted(self.sums)
        if not names:
            return {}
        table = torch.stack([torch.tensor([float(self.sums[n]), float(self.counts[n])]).float() for n in names])
        table = accelerator.reduce(table.to(accelerator.device), reduction="sum").double().cpu()
        self.sums.clear()
        self.counts.clear()
        return {n: (total / count).item() for n, (total, count) in zip(names, table, strict=True) if count > 0}


def mean_of(values: Tensor) -> tuple[Tensor, int]:
    """A fact from one value per example."""
    return values.detach().float().sum(), values.numel()
