"""How strongly the policy is held to its reference: a fixed or an adaptive coefficient, and a bound that stops
the run.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KLControl:
    """The coefficient of the KL term and how it moves.

    With a `target`, the coefficient follows Ziegler et al. 2019: it grows or shrinks by at most 20 % of the share
    `samples / horizon` per step, in proportion to how far the measured KL (nats a reply) is from the target. The share
    is at most 1: a horizon shorter than a step would turn the coefficient negative.
    """

    coefficient: float
    target: float | None = None
    horizon: int = 10_000

    def after(self, kl: float, samples: int) -> KLControl:
        """The control for the next step, given this step's mean KL over `samples` replies."""
        if self.target is None:
            return self
        error = min(max(kl / self.target - 1.0, -0.2), 0.2)
        share = min(samples / self.horizon, 1.0)
        return KLControl(self.coefficient * (1.0 + error * share), self.target, self.horizon)
