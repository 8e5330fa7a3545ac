"""Settings of `cai label`: how replies are sampled, how the judge is asked, how its answers become preferences."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cai.config.base import Settings
from cai.config.engine import EngineSettings

Mode = Literal["logprob", "cot", "score", "list", "text"]
Orders = Literal["both", "one"]
Inconsistent = Literal["average", "tie"]
Principles = Literal["random", "weighted", "stratified", "all"]
Plan = Literal["all", "tournament", "best-worst"]
Panel = Literal["mean", "majority", "weighted"]


class LabelSettings(Settings):
    """Everything that decides what a label is; the models behind policy and judge are in the `engine` section."""

    replies: int = Field(2, ge=2, le=16)
    """Replies sampled per prompt; equal ones are judged once."""
    temperature: float = Field(1.0, gt=0.0, le=4.0)
    """Temperature of all replies of a prompt: candidates of one pair come from the same one."""
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    """Nucleus of the replies."""
    max_tokens: int = Field(256, ge=1)
    """Most tokens of a reply."""
    mode: Mode = "logprob"
    """How the judge answers: logprob (letter), cot (reason, then letter), score (1-10), list (ranks), text (words)."""
    best_of: bool = False
    """Mode list: ask for the best reply's letter (log-probs) instead of a ranking in words."""
    orders: Orders = "both"
    """Show each pair in both orders and average, or in one drawn at random."""
    inconsistent: Inconsistent = "average"
    """Where the two orders name different replies: average their probabilities, or call it a tie."""
    principles: Principles = "random"
    """Principles per prompt: random (one), weighted (one, by weight x 2^priority), stratified (one, dealt out), all."""
    plan: Plan = "all"
    """With more than two replies: judge all pairs, a knock-out tournament, or only to find the best and the worst."""
    panel: Panel = "mean"
    """Several judges: mean (of log-odds), majority, or weighted (learnt from people, see `weights`)."""
    weights: str = ""
    """File with the judges' learnt weights, as `--people` writes it (weights.json)."""
    judges: tuple[EngineSettings, ...] = ()
    """The judges; with none given, the model of the `engine` section judges its own replies."""
    examples: bool = True
    """Show the constitution's `judge_examples` to the judge (modes logprob and text)."""
    cot_samples: int = Field(1, ge=1, le=32)
    """Mode cot: with 1 the probability is clamped to `cot_clamp`; with more it is the mean over so many reasonings."""
    cot_tokens: int = Field(64, ge=1)
    """Mode cot: most tokens of a reasoning."""
    cot_clamp: float = Field(0.4, ge=0.0, le=0.5)
    """Mode cot: lower end of the clamp; the upper end is one minus it."""
    words_tokens: int = Field(64, ge=1)
    """Mode text: most tokens of a verdict."""
    canaries: float = Field(0.05, ge=0.0, le=1.0)
    """Share of prompts on which the judge also meets a canary reply; the first eight always do."""
    min_margin: float = Field(0.0, ge=0.0, le=0.5)
    """Leave pairs out of the export whose probability is nearer than this to one half."""
    human_fraction: float = Field(0.0, ge=0.0, le=1.0)
    """Share of the labels written out for people to answer: people.csv and people.jsonl."""
    max_unread: float = Field(0.02, ge=0.0, le=1.0)
    """Share of unread judge answers above which the run is flagged and ends with exit code 1."""
    max_error_rate: float = Field(0.05, ge=0.0, le=1.0)
    """Share of quarantined records above which the run ends with exit code 1."""
    price_in: float | None = Field(None, ge=0.0)
    """Price of a million prompt tokens, for the cost lines."""
    price_out: float | None = Field(None, ge=0.0)
    """Price of a million completion tokens."""
    seed: int = Field(0, ge=0)
    """Seed of the run; every record derives its own from it."""
