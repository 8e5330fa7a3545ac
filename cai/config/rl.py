"""Settings of reinforcement learning: one loop, its reward, its KL control, and the numbers of each method."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cai.config.base import Seed, Settings
from cai.config.engine import EngineSettings


class Rollout(Settings):
    """How replies are drawn from the policy."""

    prompts_per_step: int = Field(default=32, ge=1)
    """Prompts a step, over all processes."""
    replies: int = Field(default=4, ge=1, le=64)
    """Replies a prompt; group methods need at least two."""
    temperature: float = Field(default=1.0, gt=0.0)
    """Sampling temperature, also used for every log-prob."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Nucleus sampling; below 1 the importance correction is refused, because it would be biased."""
    max_tokens: int = Field(default=96, ge=1)
    """Longest reply in tokens."""
    correction: Literal["none", "truncated"] = "none"
    """Weight tokens by trainer over engine probability, truncated at `correction_cap` (different engines only)."""
    correction_cap: float = Field(default=2.0, gt=1.0)
    """Largest weight of the truncated importance correction."""


class RewardTerms(Settings):
    """What a reply is paid for, beside the reward sources given on the command line; every term is logged by name."""

    engine: Literal["transformers", "vllm"] = "transformers"
    """What runs reward models: transformers, or vLLM's pooling runner for architectures that it can classify with."""
    std_penalty: float = Field(default=0.0, ge=0.0)
    """An ensemble pays its mean minus this many standard deviations."""
    length_cost: float = 0.0
    """Taken off for every token of the reply."""
    missing_end: float = Field(default=0.0, ge=0.0)
    """Taken off a reply that was cut off at `max_tokens`."""
    repetition: float = Field(default=0.0, ge=0.0)
    """Taken off times the share of repeated 3-grams in the reply."""
    clip: float | None = Field(default=None, gt=0.0)
    """Clip the summed reward to plus and minus this."""
    drop_truncated: bool = False
    """Leave replies that were cut off out of the update."""


class KL(Settings):
    """How strongly the policy is held to its reference."""

    coefficient: float = Field(default=0.05, ge=0.0)
    """Weight of the KL term."""
    estimator: Literal["k2", "k3"] = "k3"
    """Estimator of the KL in a loss. In a reward it is k1, whose gradient in a loss would be zero on average."""
    target: float | None = Field(default=None, gt=0.0)
    """Adapt the coefficient so that the KL of a reply comes near this many nats."""
    horizon: int = Field(default=10_000, ge=1)
    """Replies over which the adaptive coefficient may move by 20 %."""
    stop_at: float | None = Field(default=None, gt=0.0)
    """Stop the run when the mean KL of a reply passes this many nats."""


class Update(Settings):
    """How a step's replies become gradient steps."""

    learning_rate: float = Field(default=3e-5, gt=0.0)
    """Peak learning rate of AdamW."""
    warmup_steps: int = Field(default=5, ge=0)
    """Steps of linear warm-up; constant after."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """AdamW's weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    """Gradient clipping by global norm."""
    epochs: int = Field(default=1, ge=1)
    """Passes over a step's replies."""
    minibatches: int = Field(default=1, ge=1)
    """Gradient steps a pass."""
    micro_prompts: int = Field(default=8, ge=1)
    """Prompts (with all their replies) in one forward pass; gradients accumulate to the minibatch exactly."""
    clip_low: float = Field(default=0.2, gt=0.0)
    """The ratio is clipped below 1 minus this."""
    clip_high: float = Field(default=0.2, gt=0.0)
    """The ratio is clipped above 1 plus this."""


class PPO(Settings):
    """Numbers of PPO alone."""

    gamma: float = Field(default=1.0, gt=0.0, le=1.0)
    """Discount of later rewards."""
    lam: float = Field(default=0.95, ge=0.0, le=1.0)
    """Lambda of generalised advantage estimation."""
    value_coefficient: float = Field(default=0.1, ge=0.0)
    """Weight of the value loss."""
    value_clip: float = Field(default=0.2, gt=0.0)
    """How far a value may move from the rollout's before its loss stops improving."""
    critic: Literal["head", "separate"] = "head"
    """A linear value head on the policy's last hidden state, or a critic model of its own."""
    whiten_rewards: bool = False
    """Rescale the token rewards of a step to unit variance, keeping their mean."""
    ptx: float = Field(default=0.0, ge=0.0)
    """InstructGPT's gamma: weight of the log-likelihood of supervised data in each update."""


class GRPO(Settings):
    """Numbers of the group methods."""

    scale: bool = True
    """Divide a group's rewards by their standard deviation."""
    importance: Literal["token", "sequence"] = "token"
    """Ratio of each token (GRPO) or of the whole reply (GSPO)."""
    normalise: Literal["token", "sequence"] = "token"
    """Average over all tokens of the step, or over each reply first."""


class OnlineDPO(Settings):
    """Numbers of online DPO."""

    beta: float = Field(default=0.1, gt=0.0)
    """Strength of the KL constraint in the implicit reward."""
    soft: bool = True
    """Use the preference's probability as a soft label instead of the winner alone."""
    preference_scale: float = Field(default=1.0, gt=0.0)
    """With rewards instead of a judge: probability = sigmoid(scale x reward difference)."""


class Watch(Settings):
    """What is watched for reward hacking, and how often."""

    every: int = Field(default=10, ge=1)
    """Steps between evaluations."""
    prompts: int = Field(default=64, ge=2)
    """Held-out prompts an evaluation; the same ones each time."""
    transcripts: int = Field(default=10, ge=0)
    """Transcripts kept of each evaluation."""
    length_drift: float = Field(default=1.6, gt=1.0)
    """Warn when replies are this many times longer, or shorter, than at the start."""
    distinct_collapse: float = Field(default=0.6, gt=0.0, lt=1.0)
    """Warn when the share of distinct 2-grams falls below this share of its start."""
    stop_on: Literal["never", "hacking"] = "never"
    """Stop the run at a warning."""


class RLSettings(Settings):
    """Reinforcement learning from AI feedback."""

    run: str = "rl"
    """Run folder in runs/."""
    model: str = "tiny"
    """Policy to start from: a model folder, a hub name, or `tiny`; best the model of a `cai train sft`."""
    reference: str = ""
    """Model that the KL is measured to; by default the one it starts from. Rounds keep the first round's start."""
    constitution: str = "default"
    """Constitution whose judge voices reward and compare."""
    prompts: str = "testbed"
    """Prompts to learn on: a file, a dataset, or `testbed`."""
    split: str = ""
    """Split of a dataset; the testbed's `train` unless given."""
    column: str = ""
    """Column that holds the prompt, where it is not one of the known names."""
    limit: int | None = Field(default=None, ge=1)
    """Most prompts to learn on; 2,000 testbed requests by default."""
    watch_prompts: str = ""
    """Held-out prompts of the evaluations; by default the testbed's validation requests, or the first of `prompts`."""
    rewards: list[str] = Field(default=["wins"])
    """NAME or NAME=WEIGHT of `judge`, `judge:PRINCIPLE`, `wins`, a reward model's folder, or `module:function`."""
    held_out: str = "auto"
    """Who watches: `oracle` (testbed requests), a source as in `rewards`, or auto: the oracle, else `judge`."""
    held_out_constitution: str = ""
    """Constitution of a held-out judge; by default the same as `constitution`."""
    judge: EngineSettings = Field(default_factory=EngineSettings)
    """The judge's model and engine."""
    engine: EngineSettings = Field(default_factory=EngineSettings)
    """The engine that draws the rollouts; its model is the policy."""
    ptx_data: str = ""
    """Dialogues (Parquet, JSONL) or pretraining text (.txt, a document a line) mixed in where `ppo.ptx` is above 0."""
    steps: int = Field(default=100, ge=0)
    """Rollout-and-update steps."""
    seed: Seed = 0
    """Seed of every draw."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the weights."""
    lora_rank: int = Field(default=0, ge=0)
    """Rank of LoRA adapters; 0 trains every weight."""
    save_every: int = Field(default=20, ge=1)
    """Steps between resumable checkpoints."""
    rollout: Rollout = Rollout()
    """How replies are drawn."""
    reward: RewardTerms = RewardTerms()
    """What a reply is paid for."""
    kl: KL = KL()
    """Distance to the reference."""
    update: Update = Update()
    """Gradient steps."""
    ppo: PPO = PPO()
    """PPO's numbers."""
    grpo: GRPO = GRPO()
    """Group methods' numbers."""
    online_dpo: OnlineDPO = OnlineDPO()
    """Online DPO's numbers."""
    watch: Watch = Watch()
    """Reward hacking."""
