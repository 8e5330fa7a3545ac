"""The speed of a reinforcement learning step, part by part, each beside what it is measured against.

    python -m benchmarks.rl [--only rollouts,update,step] [--out benchmarks/results/rl.json]

- rollouts: replies of ragged length from the tiny model by the dynamic batching engine, against `generate` at batch 8;
- update: scoring and one GRPO update at V = 32,768, two groups of four replies, 384 + 128 tokens, against TRL's GRPO
  trainer on the same tokens and advantages with one reference pass each (ours also scores the old policy anew);
- step: a whole run on the tiny model with a reward model, and the share of its time outside rollout and update.

Each side runs in a fresh process with one thread. Seconds are CPU seconds, on a GPU wall time; memory is the peak above
what was held before the first step. A part that is measured takes its place in the JSON; the others stay. On a CUDA
GPU the update runs on a random Qwen-0.5B, and rollouts by vLLM as well where it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.conditions import conditions
from benchmarks.rl_sides import (
    GPU_UPDATE,
    UPDATE,
    rollouts_by_engine,
    rollouts_by_generate,
    update_by_trl,
    update_by_us,
    whole_step,
)


def run_child(side: str, steps: int) -> dict[str, Any]:
    """In the child process: one side of one part."""
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    torch.set_num_threads(1)
    cuda = torch.cuda.is_available()
    shape = GPU_UPDATE if cuda else UPDATE
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if side.startswith("rollouts-"):
            kind = side.removeprefix("rollouts-")
            return rollouts_by_generate() if kind == "generate" else rollouts_by_engine(kind)
        if side == "step":
            return whole_step(folder)
        clock = update_by_us(shape, steps, cuda) if side == "update-ours" else update_by_trl(shape, steps, cuda, folder)
        return {"seconds": sorted(clock.times[1:])[len(clock.times[1:]) // 2], "peak_mib": clock.peak.read()}


def fresh(side: str, steps: int) -> dict[str, Any]:
    """One side in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.rl", "--child", side, "--steps", str(steps)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CI": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise SystemExit(f"{side} failed:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}")
    return json.loads(lines[-1].removeprefix("RESULT "))


def measure_rollouts(steps: int) -> dict[str, Any]:
    sides = {name: fresh(f"rollouts-{name}", steps) for name in ("generate", "transformers")}
    import torch

    if torch.cuda.is_available() and importlib.util.find_spec("vllm"):
        sides["vllm"] = fresh("rollouts-vllm", steps)
    plain = sides["generate"]["tokens_per_second"]
    for name, row in sides.items():
        ratio = row["tokens_per_second"] / plain
        row["speed_up"] = ratio
        print(f"rollouts  {name:<14}{row['tokens_per_second']:>9,.0f} tokens/s{ratio:>8.2f}x  (goal >= 2x)", flush=True)
    return sides


def measure_update(steps: int) -> dict[str, Any]:
    sides = {name: fresh(f"update-{name}", steps) for name in ("trl", "ours")}
    for name, row in sides.items():
        row["speed_up"] = sides["trl"]["seconds"] / row["seconds"]
        row["memory_ratio"] = row["peak_mib"] / sides["trl"]["peak_mib"]
        print(f"update    {name:<14}{row['seconds']:>9.2f} s{row['peak_mib']:>9,.0f} MiB{row['speed_up']:>8.2f}x"
              f"{row['memory_ratio']:>8.2f} of the memory  (goal >= 3x, <= 0.33)", flush=True)  # fmt: skip
    return sides


def measure_step(steps: int) -> dict[str, Any]:
    row = fresh("step", steps)
    parts = ", ".join(f"{name} {row[name]:.1f} s" for name in ("rollout", "reward", "update", "sync", "wall"))
    print(f"step      {parts}: {row['outside']:.1%} outside rollout and update  (goal <= 20%)", flush=True)
    return row


PARTS = {"rollouts": measure_rollouts, "update": measure_update, "step": measure_step}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--steps", type=int, default=4, help="updates; the first one is warm-up")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/rl.json"))
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print("RESULT " + json.dumps(run_child(options.child, options.steps)))
        return
    import torch

    parts = options.only.split(",")
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"no such parts: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for name in parts:
        about = {**conditions(), "cuda": torch.cuda.is_available()}
        sides = PARTS[name](options.steps)
        kept = json.loads(options.out.read_text("utf-8")) if options.out.is_file() else {}
        options.out.write_text(json.dumps({**kept, name: {"about": about, "sides": sides}}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
