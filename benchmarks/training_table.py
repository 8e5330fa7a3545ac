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


@dataclass(frozen=True, slots=True)
class Training:
    """A cell of the table: a method, its data, what it starts from (the tiny model if nothing), its own settings."""

    method: str
    data: tuple[str, ...]
    start: str = ""
    replay: str = ""
    settings: dict[str, Any] = field(default_factory=dict[str, Any])


DATA = {
    "revised": Data("harmless-only", "red"),
    "drafts": Data("placebo", "plain"),
    "drafts-red": Data("placebo", "red"),
    "inverted": Data("inverted-preachy", "mixed"),
    "pairs-red": Data("harmless-only", "red_pairs", "sl"),
    "pairs-plain": Data("helpful-only", "plain_pairs", "sl"),
}
"""The paper's split: red-team requests are revised and judged by harmlessness, the others by helpfulness."""

SUPERVISED: dict[str, Any] = {"epochs": 4, "learning_rate": 5e-4}
PAIRS = ("pairs-red", "pairs-plain")


def preference(method: str, **settings: Any) -> Training:
    """A preference method from SL-CAI on the judge's labels."""
    return Training(method, PAIRS, "sl", settings={"epochs": 1, **settings})


TRAININGS = {
    "sl": Training("sft", ("revised",), replay="drafts", settings=SUPERVISED),
    "dpo": preference("dpo", learning_rate=4e-4, beta=0.1),
    "dpo-hard": preference("dpo", learning_rate=4e-4, beta=0.1, hard=True),
    "reward": Training("reward", PAIRS, "sl", settings={"epochs": 2, "learning_rate": 3e-4}),
    "placebo": Training("sft", ("drafts-red",), replay="drafts", settings=SUPERVISED),
    "inverted": Training("sft", ("inverted",), settings=SUPERVISED),
    "ipo": preference("ipo", learning_rate=4e-4, beta=0.5),
    "slic": preference("slic", learning_rate=3e-4, slic_delta=10.0, slic_weight=0.1, hard=True),
    "orpo": preference("orpo", learning_rate=4e-4, orpo_weight=5.0, hard=True),
    "kto": preference("kto", learning_rate=4e-4, beta=0.1),
    "sppo": preference("sppo", learning_rate=4e-4, beta=0.1),
    "sl-all": Training("sft", ("revised",), replay="drafts", settings={**SUPERVISED, "steps": "all"}),
}
"""Rates and strengths are of the validation split, see docs/decisions/0084."""
