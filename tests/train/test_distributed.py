"""Two processes on gloo have the losses of one process at the same global batch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.train.conftest import pair_rows, sft_rows, write_rows


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def trained(folder: Path, model: Path, method: str, processes: int) -> list[dict[str, float]]:
    """The logged steps of a training of 64 examples, 16 to a step, as `cai train` under torchrun's environment."""
    rows = sft_rows(64) if method == "sft" else pair_rows(64)
    data = write_rows(folder / f"{method}.jsonl", rows)
    words = ["eval_share=0", "batch_size=16", f"micro_batch={8 // processes}", "max_steps=4", "check_every=4"]
    program = "import sys; from cai.cli import main; sys.argv = ['cai', *sys.argv[1:]]; main()"
    base = folder / f"runs{processes}"
    command = [sys.executable, "-c", program, "train", method, *words, "-m", str(model), "-d", str(data)]
    port, children = free_port(), list[subprocess.Popen[str]]()
    for rank in range(processes):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "RANK": str(rank), "LOCAL_RANK": str(rank)}
        environment |= {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        environment |= {"ACCELERATE_USE_CPU": "true"}
        if processes == 1:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        options = ["-r", "a", "--in", str(base)]
        children.append(
            subprocess.Popen(
                [*command, *options], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        )
    outputs = [child.communicate(timeout=300)[0] for child in children]
    assert all(child.returncode == 0 for child in children), "\n".join(outputs)
    lines = (base / "a" / method / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "loss" in row]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "dpo", "kto"])
def test_two_processes_have_the_losses_of_one(tmp_path: Path, tiny_folder: Path, method: str) -> None:
    one, two = (trained(tmp_path, tiny_folder, method, n) for n in (1, 2))
    assert len(one) == len(two) == 4
    for name in ("loss", "grad_norm"):
        assert [r[name] for r in two] == pytest.approx([r[name] for r in one], rel=1e-4)
