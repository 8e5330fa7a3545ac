"""What the training benchmark makes: its data, its trainings and their numbers, in order of worth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Data:
    """Revised replies of the tiny model, or, with a `policy`, that training's replies judged by the tiny model."""

    constitution: str
    requests: str
    """Which of the sizes tells how many, and so of which kind."""
    policy: str = ""
    """A training, or `base` for the tiny model itself."""
    min_margin: float = 0.0
    """As `cai label` has it: no pair whose p is nearer to 1/2."""


@dataclass(frozen=True, slots=True)
class Training:
    """A cell of the table: a method, its data, what it starts from (the tiny model if nothing), its own settings."""

    method: str
    data: tuple[str, ...]
    start: str = ""
    replay: str = ""
    settings: dict[str, Any] = field(default_factory=dict[str, Any])


HARMLESS_PAIRS = "pairs-red-base"
DATA = {
    "revised": Data("harmless-only", "red"),
    "drafts": Data("placebo", "plain"),
    "drafts-red": Data("placebo", "red"),
    "mix": Data("placebo", "plain_pairs"),
    "inverted": Data("inverted-preachy", "mixed"),
    "pairs-red": Data("harmless-only", "red_pairs", "sl"),
    "pairs-plain": Data("helpful-only", "plain_pairs", "sl"),
    HARMLESS_PAIRS: Data("harmless-only", "red_pairs", "base"),
    "sure-red": Data("harmless-only", "red_pairs", "sl", 0.2),
    "sure-plain": Data("helpful-only", "plain_pairs", "sl", 0.2),
}
"""The paper's split: red-team requests are revised and judged by harmlessness, the others by helpfulness."""

SUPERVISED: dict[str, Any] = {"epochs": 4, "learning_rate": 5e-4}
PAIRS = ("pairs-red", "pairs-plain")
SURE = ("sure-red", "sure-plain")
"""The quarter of them that the judge was sure of, for methods without a reference or that take each reply alone."""


def preference(method: str, data: tuple[str, ...] = PAIRS, **settings: Any) -> Training:
    """A preference method from SL-CAI on the judge's labels."""
    return Training(method, data, "sl", settings={"epochs": 1, **settings})


TRAININGS = {
    "sl": Training("sft", ("revised",), replay="drafts", settings=SUPERVISED),
    "dpo": preference("dpo", learning_rate=4e-4, beta=0.1),
    "dpo-hard": preference("dpo", learning_rate=4e-4, beta=0.1, hard=True),
    "reward": Training("reward", PAIRS, "sl", settings={"epochs": 2, "learning_rate": 3e-4}),
    "placebo": Training("sft", ("drafts-red",), replay="drafts", settings=SUPERVISED),
    "inverted": Training("sft", ("inverted",), settings=SUPERVISED),
    "ipo": preference("ipo", learning_rate=4e-4, beta=0.5),
    "slic": preference("slic", SURE, epochs=3, learning_rate=3e-4, slic_delta=10.0, slic_weight=0.1),
    "orpo": preference("orpo", SURE, epochs=3, learning_rate=4e-4, orpo_weight=5.0),
    "kto": preference("kto", SURE, epochs=3, learning_rate=4e-4, beta=0.1),
    "sppo": preference("sppo", learning_rate=4e-4, beta=0.1),
    "sl-all": Training("sft", ("revised",), replay="drafts", settings={**SUPERVISED, "steps": "all"}),
}
"""Rates and strengths are of the validation split, see docs/decisions/0084."""
