"""Settings of supervised and preference training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cai.config.base import Seed, Settings

Schedule = Literal["cosine", "linear", "constant"]


class TrainSettings(Settings):
    """One training: which model on which data by which numbers. The method itself is the command's first word."""

    run: str = Field(
        default="", description="Run folder in runs/; by default `critique` for sft and `label` for the rest."
    )
    model: str = Field(default="tiny", description="`tiny` (built in), a model folder, or a hub name.")
    revision: str = Field(default="", description="Revision of a hub name; the default branch if empty.")
    data: list[str] = Field(
        default=[],
        description="Parquet or JSONL files to train on; by default the run's sft.parquet, pairs.parquet or, for "
        "best-of-K, lists.parquet.",
    )
    steps: Literal["last", "all"] = Field(
        default="last",
        description="Which replies of a revision chain `sft` learns: the last one, or each revision step.",
    )
    replay: str = Field(
        default="", description="File of helpful dialogues mixed into `sft`, so that helpfulness is not lost."
    )
    replay_share: float = Field(default=0.5, ge=0, lt=1, description="Share of the mix that comes from `replay`.")
    skip_bad_rows: bool = Field(
        default=False, description="Leave out rows that cannot be read, and say how many, instead of refusing the file."
    )
    mixed_constitutions: bool = Field(
        default=False, description="Allow data made under different constitutions in one training."
    )

    eval_data: str = Field(
        default="", description="File to evaluate on; by default a share of the prompts is kept aside."
    )
    eval_share: float = Field(
        default=0.05, ge=0, lt=1, description="Share of the prompts kept aside where no file is given."
    )
    held_out: list[str] = Field(
        default=[], description="Prompt files that no training prompt may come from, such as those of an evaluation."
    )
    check_every: int = Field(
        default=0,
        ge=0,
        description="Optimizer steps between checkpoints, each after an evaluation; 0 is a tenth of the run.",
    )
    early_stop: int = Field(
        default=0, ge=0, description="Stop after this many evaluations without a better one; 0 never stops."
    )
    keep_best: bool = Field(
        default=True, description="End with the checkpoint that evaluated best instead of the last one."
    )

    max_length: int | None = Field(
        default=None, ge=8, description="Most tokens of prompt and reply together; by default the model's context."
    )
    too_long: Literal["drop", "cut", "refuse"] = Field(
        default="drop", description="What happens to longer examples: left out, the reply's end cut off, or an error."
    )
    epochs: float = Field(default=1.0, gt=0, description="Passes over the data.")
    max_steps: int = Field(
        default=0, ge=0, description="Stop after this many optimizer steps; 0 trains the full epochs."
    )
    batch_size: int = Field(
        default=32, ge=1, description="Examples per optimizer step, over all micro-batches and processes."
    )
    micro_batch: int = Field(default=8, ge=1, description="Examples per forward pass and process.")
    learning_rate: float | None = Field(
        default=None, gt=0, description="Peak learning rate; by default what suits the method and the model's size."
    )
    schedule: Schedule = Field(default="cosine", description="Course of the learning rate after the warm-up.")
    warmup: float = Field(default=0.1, ge=0, lt=1, description="Share of the steps over which the learning rate rises.")
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW's weight decay.")
    max_grad_norm: float = Field(
        default=1.0, ge=0, description="Gradients above this norm are scaled down; 0 leaves them."
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="bf16 computes in bfloat16; weights stay float32, or bfloat16 below a LoRA adapter."
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Recompute activations in the backward pass: less memory for a third more time."
    )
    share_prefix: Literal["auto", "always", "never"] = Field(
        default="auto", description="Compute a prompt once for all its replies; auto does so where prompts are long."
    )
    seed: Seed = Field(default=0, description="Seed of the data order, the held-out share and new weights.")
    report_to: list[Literal["tensorboard", "wandb", "trackio"]] = Field(
        default=[], description="Trackers that get the metrics beside metrics.jsonl."
    )

    lora_rank: int = Field(default=0, ge=0, description="Rank of a LoRA adapter; 0 trains all weights.")
    lora_alpha: float = Field(default=32.0, gt=0, description="Scale of the adapter: alpha / rank.")
    lora_dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout before the adapter.")
    lora_targets: list[str] = Field(
        default=[], description="Names of the layers that get an adapter; by default every linear layer but the head."
    )

    hard: bool = Field(
        default=False, description="Take the chosen reply as better for certain instead of the judge's p."
    )
    beta: float | None = Field(
        default=None,
        gt=0,
        description="Strength of the pull to the reference (dpo, ipo, kto, sppo); by default the paper's.",
    )
    slic_delta: float = Field(default=1.0, gt=0, description="Margin of SLiC's rank term, in nats.")
    slic_weight: float = Field(default=0.1, ge=0, description="Weight of SLiC's calibration term.")
    orpo_weight: float = Field(default=0.1, ge=0, description="Weight of ORPO's odds-ratio term.")
    kto_desirable: float = Field(default=1.0, ge=0, description="KTO's weight of replies taken as desirable.")
    kto_undesirable: float = Field(default=1.0, ge=0, description="KTO's weight of replies taken as undesirable.")

    reward_loss: Literal["pairs", "margin", "best-of-k"] = Field(
        default="pairs", description="Pairs with soft labels, the same with a margin, or which of K replies is best."
    )
    reward_centring: float = Field(
        default=0.0,
        ge=0,
        description="Weight of a term that keeps rewards near zero while training (0.01 is published).",
    )
    ensemble: int = Field(
        default=1, ge=1, le=16, description="Reward models trained from different seeds; their spread is kept."
    )
