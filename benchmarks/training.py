"""Training speed and memory beside TRL, full trainer steps, each side in a fresh process.

    python -m benchmarks.training [--only dpo-long-wide,…] [--steps 3] [--defaults] [--out FILE.json]

Each shape is a part of the JSON with the conditions it was measured under; `--only` keeps the other parts.

Both sides train the same random Llama on the same token ids with the same batch, optimizer and precision; TRL's DPO
gets the reference log-probs precomputed as ours does, and with `--defaults` once more as its defaults have it. Gradient
checkpointing, which TRL switches on by default, is off on both sides unless named. On a CUDA GPU the model is a random
Qwen-0.5B (V = 151,936) and tokens per second, model FLOP utilisation and peak memory are reported.

Seconds are wall time on a GPU and CPU seconds on a CPU, where each side runs one thread. Memory is the peak of the
process above what it held just before the first step; on a CPU that is the resident size sampled every 5 ms, so every
side is measured alike.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any


@dataclass(frozen=True, slots=True)
class Shape:
    """A workload: `examples` a step, prompt and reply tokens, and the model's width."""

    name: str
    method: str
    prompt: int
    reply: int
    examples: int
    hidden: int
    layers: int
    vocab: int
    goal_speed: float
    goal_memory: float | None
    sides: tuple[str, ...] = ("trl", "ours")


WIDE, TINY = (256, 4, 32_768), (128, 4, 4_096)
SHAPES = (
    Shape("dpo-long-wide", "dpo", 448, 64, 8, *WIDE, 5.0, 0.25, ("trl-default", "trl", "ours")),
    Shape("dpo-even-tiny", "dpo", 256, 256, 8, *TINY, 2.0, None, ("trl-default", "trl", "ours")),
    Shape("sft-quarter-wide", "sft", 384, 128, 8, *WIDE, 3.0, None),
    Shape("sft-quarter-tiny", "sft", 384, 128, 8, *TINY, 3.0, None),
    Shape("reward-long-wide", "reward", 448, 64, 8, *WIDE, 1.0, None),
    Shape("reward-even-tiny", "reward", 256, 256, 8, *TINY, 1.0, None),
)
QWEN = (896, 24, 151_936)
GPU_SHAPES = (
    Shape("dpo-long-qwen", "dpo", 1536, 256, 8, *QWEN, 1.0, None),
    Shape("dpo-even-qwen", "dpo", 512, 512, 8, *QWEN, 1.0, None),
    Shape("sft-quarter-qwen", "sft", 1536, 512, 8, *QWEN, 1.0, None),
    Shape("reward-long-qwen", "reward", 1536, 256, 8, *QWEN, 1.0, None),
)


class Peak:
    """The most memory held since `start`, in MiB above what was held then."""

    def __init__(self, cuda: bool) -> None:
        self._cuda, self._stop = cuda, threading.Event()
        self._base = self._top = 0.0

    def start(self) -> None:
        if self._cuda:
            import torch

            torch.cuda.reset_peak_memory_stats()
            self._base = torch.cuda.memory_allocated() / 2**20
            return
        self._base = self._top = resident_mib()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self._top = max(self._top, resident_mib())

    def read(self) -> float:
        if self._cuda:
            import torch

            return torch.cuda.max_memory_allocated() / 2**20 - self._base
        self._stop.set()
        return self._top - self._base


def resident_mib() -> float:
    """Resident memory of this process (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def token_rows(shape: Shape, count: int) -> list[tuple[list[int], list[int], list[int]]]:
    """Random prompts and two replies each; replies end with the end token (1)."""
    rng = Random(0)

    def ids(n: int) -> list[int]:
        return [rng.randrange(4, shape.vocab) for _ in range(n)]

    return [(ids(shape.prompt), [*ids(shape.reply - 1), 1], [*ids(shape.reply - 1), 1]) for _ in range(count)]


def make_model(shape: Shape, cuda: bool) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig, Qwen2Config

    torch.manual_seed(0)
    size: dict[str, Any] = {
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "max_position_embeddings": 4096,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "tie_word_embeddings": True,
    }
    if cuda:
        config: Any = Qwen2Config(**size, intermediate_size=4864, num_attention_heads=14, num_key_value_heads=2)
    else:
        heads = shape.hidden // 32
        config = LlamaConfig(**size, intermediate_size=4 * shape.hidden, num_attention_heads=heads)
    if shape.method == "reward":
        config.num_labels = 1
        return AutoModelForSequenceClassification.from_config(config, attn_implementation="sdpa", dtype=torch.float32)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=torch.float32)


def make_tokenizer(vocab: int) -> Any:
    """Never used on a text: the hosts want one to be there."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({"<pad>": 0, "<end>": 1, "<unk>": 2}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<end>", unk_token="<unk>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}<end>{% endfor %}"
    return tokenizer


class Clock:
    """Times of optimizer steps as a trainer callback; the first step is warm-up.

    On a CPU they are CPU seconds of this process, which runs one thread: another program's load does not change them.
    """

    def __init__(self, cuda: bool) -> None:
        self.peak, self.times, self._cuda, self._began = Peak(cuda), list[float](), cuda, 0.0
        self._now = time.perf_counter if cuda else time.process_time

    def callback(self) -> Any:
        from transformers import TrainerCallback

        clock = self

        class Watch(TrainerCallback):
            def on_train_begin(self, *_: Any, **__: Any) -> None:
                clock.peak.start()

            def on_step_begin(self, *_: Any, **__: Any) -> None:
                clock._sync()
                clock._began = clock._now()

            def on_step_end(self, *_: Any, **__: Any) -> None:
                clock._sync()
                clock.times.append(clock._now() - clock._began)

        return Watch()

    def _sync(self) -> None:
        if self._cuda:
            import torch

            torch.cuda.synchronize()


def common_arguments(shape: Shape, folder: str, steps: int, cuda: bool) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "per_device_train_batch_size": shape.examples,
        "max_steps": steps,
        "learning_rate": 1e-5,
        "bf16": cuda,
        "use_cpu": not cuda,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": cuda,
        "gradient_checkpointing": False,
        "max_length": None,
    }


def run_trl(shape: Shape, steps: int, cuda: bool, folder: str, default: bool) -> Clock:
    """TRL's own trainer on rows it takes as already tokenised."""
    from datasets import Dataset
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer
    from trl.trainer.reward_config import RewardConfig
    from trl.trainer.reward_trainer import RewardTrainer
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    clock, rows = Clock(cuda), token_rows(shape, shape.examples * steps)
    args = common_arguments(shape, folder, steps, cuda)
    if default:
        del args["gradient_checkpointing"]
    common: dict[str, Any] = {
        "model": make_model(shape, cuda),
        "processing_class": make_tokenizer(shape.vocab),
        "callbacks": [clock.callback()],
    }
    if shape.method == "sft":
        data = [{"input_ids": p + c, "labels": [-100] * len(p) + c} for p, c, _ in rows]
        trainer: Any = SFTTrainer(args=SFTConfig(**args), train_dataset=Dataset.from_list(data), **common)
    elif shape.method == "reward":
        data = [{"chosen_ids": p + c, "rejected_ids": p + r} for p, c, r in rows]
        trainer = RewardTrainer(args=RewardConfig(**args), train_dataset=Dataset.from_list(data), **common)
    else:
        trainer = trl_dpo(
            DPOTrainer, DPOConfig(**args, precompute_ref_log_probs=not default), rows, common, shape, cuda
        )
    trainer.train()
    return clock


def trl_dpo(host: Any, config: Any, rows: Any, common: dict[str, Any], shape: Shape, cuda: bool) -> Any:
    """TRL tokenises DPO rows itself; here that step is passed over, its loss and its data path are TRL's."""
    from datasets import Dataset

    class Tokenised(host):
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    data = Dataset.from_list([{"prompt_ids": p, "chosen_ids": c, "rejected_ids": r} for p, c, r in rows])
    return Tokenised(args=config, ref_model=make_model(shape, cuda), train_dataset=data, **common)


def run_ours(shape: Shape, steps: int, cuda: bool, folder: str) -> Clock:
    """Our hosts with the same arguments; the reference is computed before the first step, as in `cai train`."""
    from datasets import Dataset
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.reward_config import RewardConfig
    from trl.trainer.sft_config import SFTConfig

    from cai.config.train import TrainSettings
    from cai.records import Message, Prompt
    from cai.train.batches import Group
    from cai.train.collate import Collator
    from cai.train.denormals import flushed_denormals
    from cai.train.examples import Example
    from cai.train.methods import METHODS
    from cai.train.preference import PreferenceTrainer
    from cai.train.reference import compute_reference
    from cai.train.reward import RewardModelTrainer, RewardObjective
    from cai.train.scoring import attach_logprobs, attach_rewards
    from cai.train.sft import SupervisedTrainer
    from cai.train.tokens import Tokenised

    clock, rows = Clock(cuda), token_rows(shape, shape.examples * steps)
    prompt = Prompt.of((Message(role="user", content="-"),))
    pairs = shape.method != "sft"
    items = [
        Tokenised(
            Example(str(i), prompt, ("a", "b") if pairs else ("a",), (0.9, 0.1) if pairs else (1.0,)),
            Group(tuple(p), (tuple(c), tuple(r)) if pairs else (tuple(c),)),
        )
        for i, (p, c, r) in enumerate(rows)
    ]
    model, reference = make_model(shape, cuda), None
    if shape.method == "reward":
        attach_rewards(model)
    else:
        attach_logprobs(model)
    if shape.method == "dpo":
        options: dict[str, Any] = {"pad": 0, "share": "auto", "attention": "sdpa", "size": shape.examples, "bf16": cuda}
        reference = compute_reference(model, items, **options)
    common: dict[str, Any] = {
        "model": model.train(),
        "processing_class": make_tokenizer(shape.vocab),
        "callbacks": [clock.callback()],
        "data_collator": Collator(items, 0, "auto", "sdpa", reference),
        "train_dataset": Dataset.from_dict({"index": list(range(len(items)))}),
    }
    args = {**common_arguments(shape, folder, steps, cuda), "remove_unused_columns": False}
    if shape.method == "sft":
        trainer: Any = SupervisedTrainer(args=SFTConfig(**args), **common)
    elif shape.method == "reward":
        trainer = RewardModelTrainer(args=RewardConfig(**args), **common)
        trainer.objective = RewardObjective()
    else:
        trainer = PreferenceTrainer(args=DPOConfig(**args, precompute_ref_log_probs=True), **common)
        trainer.pair_loss = METHODS["dpo"].pair_loss(TrainSettings())
    with flushed_denormals():
        trainer.train()
    return clock


def run_side(shape: Shape, side: str, steps: int) -> dict[str, Any]:
    """In the child process: train, and report the median step and the peak."""
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    torch.set_num_threads(1)
    cuda = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as folder:
        clock = run_ours(shape, steps, cuda, folder) if side == "ours" else run_trl(
            shape, steps, cuda, folder, side == "trl-default"
        )  # fmt: skip
    times = sorted(clock.times[1:])
    seconds = times[len(times) // 2]
    replies = 1 if shape.method == "sft" else 2
    tokens = shape.examples * replies * (shape.prompt + shape.reply)
    found: dict[str, Any] = {"seconds": seconds, "fastest": times[0], "peak_mib": clock.peak.read()}
    found["tokens_per_second"] = tokens / seconds
    if cuda:
        body = sum(p.numel() for p in make_model(shape, cuda).parameters())
        found["mfu"] = 6 * body * tokens / seconds / peak_flops()
        found["device"] = torch.cuda.get_device_name(0)
    return found


def peak_flops() -> float:
    """bfloat16 rate of a large product on this GPU, measured."""
    import torch

    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    for _ in range(3):
        torch.mm(a, a)
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(10):
        torch.mm(a, a)
    torch.cuda.synchronize()
    return 10 * 2 * 8192**3 / (time.perf_counter() - started)


def in_fresh_process(shape: Shape, side: str, steps: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", shape.name, "--side", side, "--steps", str(steps)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CI": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise SystemExit(f"{shape.name} {side} failed:\n{done.stderr[-3000:]}")
    return json.loads(lines[-1].removeprefix("RESULT "))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names of shapes, separated by commas")
    parser.add_argument("--defaults", action="store_true", help="measure TRL's DPO as its defaults have it, too")
    parser.add_argument("--steps", type=int, default=3, help="optimizer steps; the first one is warm-up")
    parser.add_argument(
        "--out", type=Path, help="by default benchmarks/results/training.json, training-gpu.json on a GPU"
    )
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    parser.add_argument("--side", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    import torch

    shapes = GPU_SHAPES if torch.cuda.is_available() else SHAPES
    if options.child:
        shape = next(s for s in shapes if s.name == options.child)
        print("RESULT " + json.dumps(run_side(shape, options.side, options.steps)))
        return
    # Not at the top: a child process runs this file by its path and needs no more than what is above.
    from benchmarks.conditions import conditions, write_part

    folder = Path(__file__).parent / "results"
    out: Path = options.out or folder / ("training-gpu.json" if torch.cuda.is_available() else "training.json")
    wanted = set(filter(None, options.only.split(",")))
    if unknown := wanted - {shape.name for shape in shapes}:
        parser.error(f"no such shape: {', '.join(unknown)}; there are {', '.join(shape.name for shape in shapes)}")
    print(f"{'shape':<20}{'side':<13}{'s/step':>9}{'tokens/s':>10}{'peak MiB':>10}{'speed-up':>10}{'memory':>8}  goal")
    for shape in (s for s in shapes if not wanted or s.name in wanted):
        about, rows = {**conditions(), "steps": options.steps, "shape": asdict(shape)}, dict[str, Any]()
        named = [side for side in shape.sides if options.defaults or side != "trl-default"]
        sides = {side: in_fresh_process(shape, side, options.steps) for side in named}
        for side, row in sides.items():
            versus = sides["trl"]
            speed, memory = versus["seconds"] / row["seconds"], row["peak_mib"] / versus["peak_mib"]
            goal = f">= {shape.goal_speed:g}x" + (f", <= {shape.goal_memory:g}" if shape.goal_memory else "")
            print(f"{shape.name:<20}{side:<13}{row['seconds']:>9.3f}{row['tokens_per_second']:>10,.0f}"
                  f"{row['peak_mib']:>10,.0f}{speed:>9.2f}x{memory:>8.2f}  {goal if side == 'ours' else ''}"
                  + (f"  MFU {row['mfu']:.1%}" if "mfu" in row else ""), flush=True)  # fmt: skip
            rows[side] = {**row, "speed_up": speed, "memory_ratio": memory}
        write_part(out, shape.name, about, {"sides": rows})


if __name__ == "__main__":
    main()
