"""Two processes on gloo have the losses of one process at the same global batch."""

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

from tests.train.conftest import pair_rows, sft_rows, write_rows


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def trained(folder: Path, model: Path, method: str, processes: int, module: str = "cai.cli") -> list[dict[str, float]]:
    """The logged steps of a training of 64 examples, 16 to a step, as `cai train` under torchrun's environment."""
    rows = sft_rows(64) if method == "sft" else pair_rows(64)
    data = write_rows(folder / f"{method}.jsonl", rows)
    words = ["eval_share=0", "batch_size=16", f"micro_batch={8 // processes}", "max_steps=4", "check_every=2"]
    base = folder / f"{module}{processes}"
    command = [sys.executable, "-m", module, "train", method, *words, "-m", str(model), "-d", str(data)]
    port, children = free_port(), list[subprocess.Popen[str]]()
    for rank in range(processes):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if processes > 1:
            environment |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
        options = ["-r", "a", "--in", str(base)]
        children.append(
            subprocess.Popen(
                [*command, *options], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        )
    outputs = [child.communicate(timeout=300)[0] for child in children]
    assert all(child.returncode == 0 for child in children), "\n".join(outputs)
    return logged(base / "a" / method)


def logged(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "loss" in row]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "dpo", "kto"])
def test_two_processes_have_the_losses_of_one(tmp_path: Path, tiny_folder: Path, method: str) -> None:
    one, two = (trained(tmp_path, tiny_folder, method, n) for n in (1, 2))
    assert len(one) == len(two) == 4
    for name in ("loss", "grad_norm"):
        assert [r[name] for r in two] == pytest.approx([r[name] for r in one], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "dpo", "reward"])
def test_two_sharded_processes_have_the_losses_of_one(tmp_path: Path, tiny_folder: Path, method: str) -> None:
    """FSDP2: the same curve, and whole weights at the end."""
    module, names = "tests.train.sharded", ("loss", "grad_norm")
    one, two = trained(tmp_path, tiny_folder, method, 1), trained(tmp_path, tiny_folder, method, 2, module)
    for name in names:
        assert [r[name] for r in two] == pytest.approx([r[name] for r in one], rel=1e-4)
    plain, sharded = (
        load_file(tmp_path / f"{part}" / "a" / method / "model" / "model.safetensors")
        for part in ("cai.cli1", f"{module}2")
    )
    # A head tied to the embeddings is written once by one process and twice after sharding.
    assert sharded.keys() - plain.keys() <= {"lm_head.weight"}
    for name, weight in plain.items():
        torch.testing.assert_close(sharded[name], weight, atol=2e-5, rtol=1e-3)
