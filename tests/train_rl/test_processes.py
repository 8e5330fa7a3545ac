"""Two processes on gloo take the steps of one process at the same number of prompts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.engine.small_models import build

PROGRAM = "import sys; from cai.cli import main; sys.argv = ['cai', *sys.argv[1:]]; main()"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def trained(folder: Path, model: Path, processes: int) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Gradient norms and final weights of three GRPO steps, as `cai train` under torchrun's environment."""
    words = ["steps=3", "limit=8", "rollout.prompts_per_step=4", "rollout.replies=3", "rollout.max_tokens=6"]
    words += ["update.learning_rate=0.001", "watch.prompts=4", "held_out=tests.cli.rl_rewards:short"]
    base = folder / f"runs{processes}"
    command = [sys.executable, "-c", PROGRAM, "train", "grpo", "-m", str(model), "-r", "g", "--in", str(base)]
    command += ["--reward", "tests.cli.rl_rewards:vowels", *words]
    port, children = free_port(), list[subprocess.Popen[str]]()
    for rank in range(processes):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if processes > 1:
            environment |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
        children.append(
            subprocess.Popen(
                command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                cwd=Path(__file__).parents[2],
            )
        )  # fmt: skip
    outputs = [child.communicate(timeout=600)[0] for child in children]
    assert all(child.returncode == 0 for child in children), "\n".join(outputs)
    lines = (base / "g/grpo/metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["grad_norm"] for line in lines], load_file(base / "g/grpo/model/model.safetensors")


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    model = build("qwen3", tmp_path / "model")
    (norms, weights), (norms2, weights2) = (trained(tmp_path, model, n) for n in (1, 2))
    assert norms2 == pytest.approx(norms, rel=1e-4)
    for name, value in weights.items():
        torch.testing.assert_close(weights2[name], value, atol=1e-5, rtol=1e-3, msg=name)
