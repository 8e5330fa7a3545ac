"""Rollouts by a real vLLM, whose weights follow the training step by step."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.small_models import build

pytestmark = pytest.mark.vllm
pytest.importorskip("vllm", reason="the vLLM step of CI installs it")


def test_vllm_draws_from_the_weights_of_the_step(tmp_path: Path) -> None:
    model = build("qwen3", tmp_path / "model")
    words = ["steps=3", "limit=8", "rollout.prompts_per_step=4", "rollout.replies=2", "rollout.max_tokens=8"]
    words += ["update.learning_rate=0.01", "update.warmup_steps=0", "watch.prompts=4", "engine.kind=vllm"]
    words += ["engine.vllm.kv_cache_gib=0.1", "held_out=tests.cli.rl_rewards:short"]
    program = "import sys; from cai.cli import main; sys.argv = ['cai', *sys.argv[1:]]; main()"
    command = [sys.executable, "-c", program, "train", "grpo", "-m", str(model), "-r", "v", "--in", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    done = subprocess.run(
        [*command, "--reward", "tests.cli.rl_rewards:vowels", *words],
        cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in (tmp_path / "v/grpo/metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    # The policy has moved, so log-probs from stale weights would be off by far more than rounding.
    assert rows[-1]["kl"] > 0.05
    assert max(row["parity_max"] for row in rows) < 2e-3, [row["parity_max"] for row in rows]
