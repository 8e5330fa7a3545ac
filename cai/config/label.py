"""Settings of `cai label`: where replies come from, how the judge is asked, how its answers become preferences."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cai.config.base import Seed, Settings
from cai.config.engine import EngineSettings

Mode = Literal["logprob", "cot", "score", "list", "text"]
Orders = Literal["both", "one"]
Inconsistent = Literal["average", "tie"]
Principles = Literal["random", "weighted", "stratified", "all", "priority"]
Plan = Literal["all", "tournament", "best-worst"]
Panel = Literal["mean", "majority", "weighted"]


class LabelSettings(Settings):
    """Everything that decides what a label is. The `engine` section's model samples, and judges where no other does."""

    constitution: str = "default"
    """Constitution: a YAML file, or the name of a shipped one."""
    prompts: str = "testbed"
    """Prompts to sample replies for: a JSONL, CSV, Parquet or text file, a dataset, or `testbed`."""
    column: str = ""
    """Column that holds the prompts; a known name is found by itself."""
    split: str = ""
    """Split of a dataset that has several."""
    replies: str = ""
    """Judge the replies in this file instead of sampled ones: rows with a prompt and a list `replies`."""
    pairs: str = ""
    """Judge the pairs in this file instead: rows with `chosen` and `rejected`, or `reply_a` and `reply_b`."""
    critique: str = ""
    """Judge draft against final reply of this critique run instead."""
    run: str = "label"
    """Name of the run's folder in runs/; the same name again resumes."""
    limit: int | None = Field(default=None, ge=1)
    """Use only so many prompts from the start."""
    seed: Seed = 0
    """Seed of everything random in the run."""
    samples: int = Field(default=2, ge=2, le=16)
    """Replies sampled per prompt; equal ones are judged once."""
    temperature: float = Field(default=1.0, gt=0.0, le=5.0)
    """Sampling temperature of the replies: candidates of one pair come from the same one."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Sample from the likeliest tokens that make up this share."""
    max_tokens: int = Field(default=256, ge=1)
    """Most tokens of a reply."""
    keep_truncated: bool = False
    """Judge sampled replies too that were cut at `max_tokens`: by default they are left out and counted."""
    choose: str = ""
    """Judge only two of each prompt's replies, the best and the worst by the reward model in this folder."""
    judges: tuple[EngineSettings, ...] = ()
    """The models that judge, where it is not the engine's."""
    mode: Mode = "logprob"
    """How the judge answers: logprob (letter), cot (reason, then letter), score (1-10), list (ranks), text (words)."""
    best_of: bool = False
    """Mode list: ask for the best reply's letter (log-probs) instead of a ranking in words."""
    orders: Orders = "both"
    """Show each pair in both orders and average, or in one drawn at random."""
    inconsistent: Inconsistent = "average"
    """Where the two orders name different replies: average their probabilities, or call it a tie."""
    principles: Principles = "random"
    """Principles a label: random, weighted (one by weight), stratified (one dealt out), all, priority (all, by it)."""
    plan: Plan = "all"
    """With more than two replies: judge all pairs, a knock-out tournament, or only to find the best and the worst."""
    panel: Panel = "mean"
    """Several judges: mean (of log-odds), majority, or weighted (learnt from people, see `weights`)."""
    weights: str = ""
    """File with the judges' learnt weights: the weights.json of a run that read people's answers."""
    examples: bool = True
    """Show the constitution's `judge_examples` to the judge (modes logprob and text)."""
    cot_samples: int = Field(default=1, ge=1, le=32)
    """Mode cot: with 1 the probability is clamped to `cot_clamp`; with more it is the mean over so many reasonings."""
    cot_tokens: int = Field(default=64, ge=1)
    """Mode cot: most tokens of a reasoning."""
    cot_clamp: float = Field(default=0.4, ge=0.0, le=0.5)
    """Mode cot: lower end of the clamp; the upper end is one minus it."""
    words_tokens: int = Field(default=64, ge=1)
    """Mode text: most tokens of a verdict."""
    canaries: float = Field(default=0.05, ge=0.0, le=1.0)
    """Share of prompts on which the judge also meets a canary reply; the first eight always do, unless it is 0."""
    min_margin: float = Field(default=0.0, ge=0.0, le=0.5)
    """Leave pairs out of the export whose probability is nearer than this to one half."""
    human_fraction: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the labels written out for people to answer: people.csv and people.jsonl."""
    max_unread: float = Field(default=0.02, ge=0.0, le=1.0)
    """Share of unread judge answers above which the run is flagged and the exit code is 1."""
    attempts: int = Field(default=3, ge=1)
    """Attempts at one record before it is quarantined."""
    max_error_rate: float = Field(default=0.05, ge=0.0, le=1.0)
    """Share of quarantined records above which the exit code is 1."""
    skip_bad_rows: bool = False
    """Count unreadable rows and go on without them."""
    max_cost: float | None = Field(default=None, gt=0.0)
    """Stop a stage before it costs more than this; needs a price; resumable."""
    price_in: float = Field(default=0.0, ge=0.0)
    """Price of a million prompt tokens."""
    price_out: float = Field(default=0.0, ge=0.0)
    """Price of a million tokens written by the model."""
