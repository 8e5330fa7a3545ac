"""Names of the training methods, written once: whatever lists them reads them here, without importing torch."""

from __future__ import annotations

from typing import Literal, get_args

Preference = Literal["dpo", "ipo", "slic", "orpo", "kto", "sppo"]
"""Learn from pairs of replies."""
Reinforcement = Literal["ppo", "grpo", "rloo", "spo", "online-dpo"]
"""Learn from what replies of their own are paid."""
PREFERENCE: tuple[str, ...] = get_args(Preference)
REINFORCEMENT: tuple[str, ...] = get_args(Reinforcement)
ON_DATA = ("sft", "reward", *PREFERENCE)
"""Learn from data that lie there already."""
METHODS = (*ON_DATA, *REINFORCEMENT)
