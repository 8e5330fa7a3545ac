"""`cai train METHOD` for several methods, one after the other, in this one process of perhaps several.

    python -m tests.train.every_method FOLDER RUNS MICRO METHOD…

FOLDER holds a model and data as `test_accelerate` writes them. Imports and start-up are then paid once for all.
"""

from __future__ import annotations

import sys

from cai.cli import main

SUPERVISED = ("sft", "reward", "dpo", "ipo", "slic", "orpo", "kto", "sppo")
REINFORCED = ("ppo", "grpo", "rloo", "spo", "online-dpo")
STEPS = 2


WAYS = {"lora": ("lora_rank=4", "learning_rate=0.01"), "bf16": ("precision=bf16",)}
"""What may follow a method after a `+`; each combination has a folder of runs of its own."""


def words(name: str, folder: str, runs: str, micro: int) -> list[str]:
    """The command line of one training; every step is the same, however many processes share it."""
    method, *ways = name.split("+")
    common = ["train", method, "-m", f"{folder}/model", "-r", "a", "--in", "+".join((runs, *ways))]
    if method in REINFORCED:
        more = [f"steps={STEPS}", "limit=8", "rollout.prompts_per_step=4", "rollout.replies=2", "rollout.max_tokens=6"]
        more += ["update.learning_rate=0.001", "watch.prompts=2", "held_out=tests.cli.rl_rewards:short"]
        return [*common, *more, *([] if method == "spo" else ["--reward", "tests.cli.rl_rewards:vowels"])]
    data = f"{folder}/{'sft' if method == 'sft' else 'pairs'}.jsonl"
    steps = ["eval_share=0", "batch_size=8", f"micro_batch={micro}", f"max_steps={STEPS}", "check_every=1"]
    return [*common, "-d", data, *steps, *(word for way in ways for word in WAYS[way])]


def run_all(folder: str, runs: str, micro: str, methods: list[str]) -> None:
    """Train by each method; the first that fails ends the process with its code."""
    for method in methods:
        sys.argv = ["cai", *words(method, folder, runs, int(micro))]
        try:
            main()
        except SystemExit as end:
            if end.code:
                raise


if __name__ == "__main__":
    run_all(*sys.argv[1:4], sys.argv[4:])
