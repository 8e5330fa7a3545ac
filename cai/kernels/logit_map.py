"""From a raw dot product (bias added) to a logit: scale, tanh soft-cap, temperature, in this order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class LogitMap:
    """z = cap * tanh(scale * raw / cap) / temperature; without a cap z = scale * raw / temperature.

    The cap belongs to the model and the temperature to the sampler, so the temperature comes last, as it does when the
    model generates.
    """

    scale: float = 1.0
    softcap: float | None = None
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for name, value in (("logit_scale", self.scale), ("softcap", self.softcap), ("temperature", self.temperature)):
            if value is not None and not 0.0 < value < float("inf"):
                raise ValueError(f"{name} must be a positive finite number, got {value}")

    @property
    def factor(self) -> float:
        """dz/draw at raw = 0."""
        return self.scale / self.temperature

    def apply_(self, raw: Tensor) -> Tensor:
        """Overwrite raw dot products with logits; not for autograd."""
        if self.softcap is None:
            return raw if self.factor == 1.0 else raw.mul_(self.factor)
        return raw.mul_(self.scale / self.softcap).tanh_().mul_(self.softcap / self.temperature)

    def apply(self, raw: Tensor) -> Tensor:
        """The same out of place, differentiable."""
        if self.softcap is None:
            return raw * self.factor
        return torch.tanh(raw * (self.scale / self.softcap)) * (self.softcap / self.temperature)

    def flatness(self, z: Tensor) -> Tensor:
        """1 - tanh^2 at a logit z: how much of the slope the cap leaves. Ask only where there is a cap."""
        assert self.softcap is not None
        return 1.0 - (z * (self.temperature / self.softcap)).square_()
