"""The methods by their names in the field: what data each needs, its loss, and the numbers it starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from cai.config.train import TrainSettings
from cai.train.losses import PREFERENCE
from cai.train.preferences import PairLoss

Kind = Literal["sft", "reward", "preference"]
TINY_PARAMETERS = 50_000_000
"""Below this the rates for tiny models hold; the published ones are for 0.5B and more."""


@dataclass(frozen=True, slots=True)
class Method:
    """A training method. `rate` is the published peak learning rate, `tiny_rate` the one for the built-in model."""

    name: str
    kind: Kind
    help: str
    rate: float
    lora_rate: float
    tiny_rate: float
    reference: bool = False
    """Whether the loss compares with a frozen reference."""
    third: Literal["", "mismatched", "target"] = ""
    """A third reply each pair is scored with."""
    beta: float = 0.1
    loss: Callable[[TrainSettings, float], PairLoss] | None = None

    def learning_rate(self, settings: TrainSettings, parameters: int) -> float:
        """The setting where there is one, else the method's own for this size."""
        if settings.learning_rate is not None:
            return settings.learning_rate
        if parameters < TINY_PARAMETERS:
            return self.tiny_rate
        return self.lora_rate if settings.lora_rank else self.rate

    def pair_loss(self, settings: TrainSettings) -> PairLoss:
        """The loss with its numbers filled in."""
        assert self.loss is not None, f"{self.name} is not a preference method"
        return self.loss(settings, self.beta if settings.beta is None else settings.beta)


METHODS = {
    m.name: m
    for m in (
        Method("sft", "sft", "supervised learning on revised replies (SL-CAI)", 2e-5, 2e-4, 3e-4),
        Method("reward", "reward", "a reward model from soft preferences", 1e-5, 1e-4, 2e-4),
        Method(
            "dpo", "preference", "direct preference optimisation, soft or hard labels", 5e-7, 5e-6, 4e-4, True, "",
            0.1, lambda s, beta: partial(PREFERENCE["dpo"], beta=beta, hard=s.hard),
        ),
        Method(
            "ipo", "preference", "identity preference optimisation", 5e-7, 5e-6, 4e-4, True, "",
            0.1, lambda s, beta: partial(PREFERENCE["ipo"], beta=beta, hard=s.hard),
        ),
        Method(
            "slic", "preference", "SLiC-HF: rank and calibration", 1e-6, 1e-5, 3e-4, False, "target",
            0.1, lambda s, beta: partial(PREFERENCE["slic"], delta=s.slic_delta, weight=s.slic_weight, hard=s.hard),
        ),
        Method(
            "orpo", "preference", "odds-ratio preference optimisation, no reference", 8e-6, 8e-5, 4e-4, False, "",
            0.1, lambda s, beta: partial(PREFERENCE["orpo"], weight=s.orpo_weight, hard=s.hard),
        ),
        Method(
            "kto", "preference", "Kahneman-Tversky optimisation", 5e-7, 5e-6, 4e-4, True, "mismatched",
            0.1,
            lambda s, beta: partial(
                PREFERENCE["kto"], beta=beta, desirable=s.kto_desirable, undesirable=s.kto_undesirable, hard=s.hard
            ),
        ),
        Method(
            "sppo", "preference", "self-play preference optimisation, one iteration", 5e-7, 5e-6, 4e-4, True, "",
            0.1, lambda s, beta: partial(PREFERENCE["sppo"], beta=beta, hard=s.hard),
        ),
    )
}  # fmt: skip
