"""The table of the reinforcement methods."""

from __future__ import annotations

from collections.abc import Callable

from cai.config.rl import RLSettings
from cai.train.rl.grpo import GRPO
from cai.train.rl.method import Method
from cai.train.rl.online_dpo import OnlineDPO
from cai.train.rl.ppo import PPO
from cai.train.rl.rloo import RLOO
from cai.train.rl.spo import SPO


def table() -> dict[str, Callable[[RLSettings], Method]]:
    """Every method by its name."""
    return {"ppo": PPO, "grpo": GRPO, "rloo": RLOO, "spo": SPO, "online-dpo": OnlineDPO}


def method_of(name: str, settings: RLSettings) -> Method:
    """The method called `name`, built from its settings."""
    return table()[name](settings)
