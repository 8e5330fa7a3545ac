"""Rollouts by a real `vllm serve`, whose weights follow the training through a folder."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.process import cai_here
from tests.engine.small_models import build

pytestmark = pytest.mark.vllm
pytest.importorskip("vllm", reason="the vLLM step of CI installs it")
SETTINGS = "--dtype float32 --enforce-eager --block-size 32 --kv-cache-memory-bytes 134217728 --max-num-seqs 16"
SETTINGS += " --logprobs-mode processed_logprobs"
QUIET = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR", "TORCH_COMPILE_DISABLE": "1"}
QUIET |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1", "VLLM_SERVER_DEV_MODE": "1"}


@contextmanager
def serving(model: Path, log: Path) -> Iterator[str]:
    """A server of the model, up and answering; its address."""
    from cai.engine.vllm_stub import write_stub

    write_stub()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("vllm")), "serve", str(model), "--host", "127.0.0.1"]
    with log.open("ab") as out:
        server = subprocess.Popen(
            [*command, "--port", str(port), *SETTINGS.split()], env={**os.environ, **QUIET}, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip
    try:
        for _ in range(1200):
            assert server.poll() is None, log.read_text()[-3000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_a_server_draws_from_the_weights_of_the_step(tmp_path: Path) -> None:
    model = build("qwen3", tmp_path / "model")
    words = ["steps=3", "limit=8", "rollout.prompts_per_step=4", "rollout.replies=2", "rollout.max_tokens=8"]
    words += ["update.learning_rate=0.01", "update.warmup_steps=0", "watch.prompts=4", "engine.kind=openai"]
    words += ["held_out=tests.cli.rl_rewards:short", "--reward", "tests.cli.rl_rewards:vowels"]
    with serving(model, tmp_path / "server.log") as url:
        ended = cai_here(
            "train", "grpo", "-m", str(model), "-r", "v", *words, f"engine.openai.base_url={url}", cwd=tmp_path
        )
    assert ended.code == 0, ended.err
    rows = [json.loads(line) for line in (tmp_path / "runs/v/grpo/metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    # The policy has moved, so log-probs from stale weights would be off by far more than rounding.
    assert rows[-1]["kl"] > 0.05
    assert max(row["parity_max"] for row in rows) < 2e-3, [row["parity_max"] for row in rows]
