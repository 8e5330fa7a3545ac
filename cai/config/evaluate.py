"""Settings of `cai evaluate` and `cai redteam`."""

from __future__ import annotations

from pydantic import Field

from cai.config.base import Seed, Settings


class EvaluateSettings(Settings):
    """Which suites, on how much, under which attacks, judged by whom."""

    suites: tuple[str, ...] = ("testbed",)
    """Suites to run; `all` stands for every one whose data is there."""
    attacks: tuple[str, ...] = ()
    """Attacks around the prompts of the suites that allow it; `a+b` composes two; `all` is every single one."""
    run: str = ""
    """Name of the run's folder in runs/; by default `evaluate-` and the model's name."""
    data: str = ""
    """Folder of public data sets, one folder a set."""
    limit: int | None = Field(default=None, ge=1)
    """Use only so many items of each suite, drawn by the seed."""
    seed: Seed = 0
    """Seed of everything random."""
    temperature: float = Field(default=0.0, ge=0.0, le=5.0)
    """Sampling temperature of the answers; 0 is greedy."""
    max_tokens: int = Field(default=256, ge=1)
    """Most tokens of an answer."""
    judge: str = ""
    """Model that says whether a reply really helps with harm; without one only refusals are counted."""
    beside: str = ""
    """A second model, evaluated on the same items and compared pair by pair."""


class RedteamSettings(Settings):
    """How new attack prompts are grown and judged."""

    seeds: str = "testbed"
    """Seed prompts: a file of harmful requests, or `testbed`."""
    run: str = "redteam"
    """Name of the run's folder in runs/."""
    attacker: str = ""
    """Model that grows prompts; by default the target itself."""
    judge: str = ""
    """Model that says whether a reply really helps with harm; by default the target, and on the testbed the oracle."""
    limit: int = Field(default=20, ge=1)
    """Seeds that are used, from the start."""
    rounds: int = Field(default=2, ge=1, le=20)
    """Rounds of growth; each starts from what came nearest to success."""
    width: int = Field(default=4, ge=1, le=32)
    """New prompts per seed and round."""
    seed: Seed = 0
    """Seed of everything random."""
    max_tokens: int = Field(default=200, ge=1)
    """Most tokens of a grown prompt or of a reply."""
