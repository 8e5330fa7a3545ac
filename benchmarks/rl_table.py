"""What the reinforcement benchmark trains: its cells in order of worth, and their numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Pays = Literal["labels", "harmless", "length", "judge", "rounds"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A policy of the table: the method that trains it, who pays, its own settings, and where it starts."""

    method: Literal["ppo", "grpo"]
    pays: Pays
    """The reward model of AI labels, one of red-team requests' labels alone, which is also all that is trained on then,
    one taught to like length, the judge itself, or a new reward model each round."""
    kl: float
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    start: Literal["sl", "base"] = "sl"
    steps: int = 0
    """Of its own; 0 for those of `RLSizes`."""
    mix: str = ""
    """Which data of the training benchmark `ppo.ptx` is the likelihood of."""
    rounds: int = 1
    """Where rounds pay: how many share the labels and the steps."""
    every: int = 1
    """Where rounds pay: of the training benchmark's requests every so many-th is labelled, over all rounds together."""


PPO, GRPO, WEAK, HACKED, WEAK_PPO, PTX, JUDGE, ROUNDS = (
    "ppo", "grpo", "grpo-weak-kl", "grpo-no-kl-length", "ppo-weak-kl", "ppo-ptx", "grpo-judge", "grpo-rounds",
)  # fmt: skip
NARROW, NARROW_PTX = "ppo-narrow", "ppo-narrow-ptx"
FEW, FEW_ROUNDS = "grpo-few", "grpo-few-rounds"
CELLS = {
    PPO: Cell("ppo", "labels", 0.1),
    GRPO: Cell("grpo", "labels", 0.3),
    HACKED: Cell("grpo", "length", 0.0),
    WEAK: Cell("grpo", "labels", 0.02),
    WEAK_PPO: Cell("ppo", "labels", 0.02),
    PTX: Cell("ppo", "labels", 0.02, {"ppo": {"ptx": 0.5}}, mix="drafts"),
    NARROW: Cell("ppo", "harmless", 0.05, start="base", steps=28),
    NARROW_PTX: Cell("ppo", "harmless", 0.05, {"ppo": {"ptx": 3.0}}, start="base", steps=28, mix="mix"),
    JUDGE: Cell("grpo", "judge", 0.3),
    ROUNDS: Cell("grpo", "rounds", 0.3, rounds=3),
    FEW: Cell("grpo", "rounds", 0.02, steps=63, every=4),
    FEW_ROUNDS: Cell("grpo", "rounds", 0.02, steps=63, rounds=3, every=4),
}
MIXED = {PTX: WEAK_PPO, NARROW_PTX: NARROW}
"""Policies trained with the supervised mix, and the same ones without."""
IN_ROUNDS = {ROUNDS: GRPO, FEW_ROUNDS: FEW}
"""Policies trained in rounds, and what as many labels and steps give in one."""
UPDATES: dict[str, dict[str, Any]] = {
    "ppo": {"learning_rate": 2e-4, "epochs": 2, "minibatches": 2},
    "grpo": {"learning_rate": 3e-4, "minibatches": 2},
}
"""Four updates a step for PPO, which reuses its replies, and two for GRPO."""
LENGTH_BIAS = 0.3
"""Added to a label's log-odds for every word by which a reply is longer, where the reward model is to like length."""


@dataclass(frozen=True, slots=True)
class RLSizes:
    """How much each policy is trained and watched."""

    steps: int = 21
    """Rollout-and-update steps, over all rounds together."""
    prompts: int = 24
    """Prompts a step, four replies each; half of them are red-team requests."""
    watched: int = 768
    """Validation requests an evaluation."""
    every: int = 7
    """Steps between evaluations."""
