"""What a reinforcement method is: how it credits, counts and loses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from cai.train.rl.experience import Experience

Compares = Literal["never", "may", "must"]


@dataclass(frozen=True, slots=True)
class Scored:
    """What the policy says of a part of the step's replies, with gradient: [B, T], zero on padding."""

    logp_BT: Tensor
    value_BT: Tensor | None


@dataclass(frozen=True, slots=True)
class Loss:
    """A sum over tokens or pairs, to be divided by the whole step's count; and parts to log, as sums of their own."""

    total: Tensor
    parts: dict[str, Tensor]


class Method(Protocol):
    """An algorithm: how rewards become advantages, and scores become a loss. Its state is its settings."""

    critic: str | None
    """`head` or `separate` where the method needs values."""
    compares: Compares
    """Whether it takes a judge's preferences between replies (`Experience.wins_GKK`) in place of rewards."""
    min_replies: int

    def credit(self, experience: Experience, kl: float) -> Experience:
        """Fill in advantages (and returns, and weights); `kl` is the current coefficient of the KL term."""
        ...

    def count(self, experience: Experience) -> float:
        """What the summed loss of this part is divided by, once added up over the whole step."""
        ...

    def loss(self, scored: Scored, experience: Experience, kl: float) -> Loss:
        """The loss of a part of the step."""
        ...
