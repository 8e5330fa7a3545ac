"""`cai critique` and `cai label` through a real `vllm serve`, which is also killed in mid-run."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cai.config.engine import OpenAISettings
from cai.engine import Sampling, Turn
from cai.engine.openai import OpenAIEngine
from cai.judge.modes.text import CHOICES
from cai.testbed import TINY
from tests.cli.process import PLAIN, cai_here
from tests.engine.processes import stored
from tests.engine.small_models import build

pytestmark = pytest.mark.vllm
pytest.importorskip("vllm", reason="the vLLM step of CI installs it")
QUIET = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "TORCH_COMPILE_DISABLE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}
SETTINGS = "--dtype float32 --enforce-eager --block-size 32 --kv-cache-memory-bytes 134217728 --max-num-seqs 16"
SETTINGS += " --scheduling-policy priority"
STARTING = 240
"""Seconds that a server may take to come up on a busy machine."""


@contextmanager
def serving(log: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server of the built-in model on a port, up and answering."""
    from cai.engine.vllm_stub import write_stub

    write_stub()
    where = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "tiny"]
    command = [str(Path(sys.executable).with_name("vllm")), "serve", str(TINY), *where, *SETTINGS.split()]
    with log.open("ab") as out:
        server = subprocess.Popen(
            [*command, "--enable-prompt-tokens-details"],
            env={**os.environ, **QUIET},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + STARTING
        while not answers(port):
            assert server.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.2)
        yield server
    finally:
        kill(server)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as response:
            return response.status == 200
    except OSError:
        return False


def kill(server: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the server and the engine process it started, as when a machine goes away."""
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def words(command: str, port: int, *more: str) -> list[str]:
    """A command line that goes through the server, and soon notices that it is gone."""
    server = [f"base_url=http://127.0.0.1:{port}/v1", "breaker_seconds=1", "first_wait=0.05"]
    given = [f"engine.openai.{setting}" for setting in server]
    return [command, "-m", "tiny", "--engine", "openai", *given, "engine.concurrency=8", *more]


def rows(journal: Path) -> dict[str, tuple[str, str]]:
    """State and body by key of every stored record."""
    with closing(sqlite3.connect(journal)) as connection:
        found = connection.execute("SELECT key, state, body FROM rows").fetchall()
    return {key: (state, body) for key, state, body in found}


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_server_that_is_killed_in_mid_run_costs_no_record(port: int, tmp_path: Path) -> None:
    """Then, with the server up again: the same command finishes, and replies are labelled through it."""
    log, journal = tmp_path / "server.log", tmp_path / "runs" / "r" / "journal.sqlite"
    run = words("critique", port, "--limit", "40", "--max-tokens", "24", "-r", "r")
    code = "import sys; sys.argv[0] = 'cai'; from cai.cli import main; main()"
    with serving(log, port) as server:
        child = subprocess.Popen(
            [sys.executable, "-c", code, *run], cwd=tmp_path, env={**os.environ, **PLAIN}, stderr=subprocess.PIPE
        )
        while child.poll() is None and stored(journal) < 3:
            time.sleep(0.02)
        kill(server)
        err = child.communicate(timeout=120)[1].decode()
    assert child.returncode == 1, err
    assert "run the same command again to go on" in err
    assert "Traceback" not in err
    before = rows(journal)
    assert 0 < len(before) < 40
    with serving(log, port):
        again = cai_here(*run, cwd=tmp_path)
        assert again.code == 0, again.err
        after = rows(journal)
        assert before.items() <= after.items()
        assert (len(after), {state for state, _ in after.values()}) == (40, {"ok"})
        told = json.loads((tmp_path / "runs" / "r" / "about.json").read_text())["critique"]
        assert 0.2 < told["cached_share"] < 1
        assert f"({told['cached_share']:.0%} cached)" in again.out
        check_labels(port, tmp_path)
        check_words(port, tmp_path)
        check_token_ids(port, tmp_path)
        check_official_client(port)


def check_official_client(port: int) -> None:
    """OpenAI's own client gets the reply that the engine gets."""
    from openai import OpenAI

    asked, own = "How do I open the jar?", OpenAISettings(base_url=f"http://127.0.0.1:{port}/v1")
    client = OpenAI(base_url=own.base_url, api_key="none")
    told = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": asked}], temperature=0.0, max_tokens=24
    )

    async def ours() -> str:
        engine = OpenAIEngine("tiny", own, "")
        try:
            return (await engine.generate((Turn("user", asked),), Sampling(0, 0.0, max_tokens=24))).text
        finally:
            await engine.close()

    assert asyncio.run(ours()) == told.choices[0].message.content


def check_labels(port: int, folder: Path) -> None:
    """The judge through the server gives the probabilities of the embedded engine, from log-probs of option tokens."""
    more = ("--critique", "r", "label.canaries=0")
    served = cai_here(*words("label", port, *more, "-r", "served"), cwd=folder)
    assert served.code == 0, served.err
    embedded = cai_here("label", *more, "-m", "tiny", "-r", "embedded", cwd=folder)
    assert embedded.code == 0, embedded.err

    def probabilities(name: str) -> list[float]:
        bodies = [json.loads(body) for _, body in rows(folder / "runs" / name / "journal.sqlite").values()]
        found = {
            body["prompt"]["id"]: [vote["p_a"] for c in body["comparisons"] for vote in c["votes"]] for body in bodies
        }
        return [p for _, votes in sorted(found.items()) for p in votes]

    ours, theirs = probabilities("embedded"), probabilities("served")
    assert len(ours) > 4
    assert theirs == pytest.approx(ours, abs=1e-3)


def check_words(port: int, folder: Path) -> None:
    """Without log-probs, a judge is held to the answers there are; in free words such a model is often unread."""
    more = ("--critique", "r", "--limit", "10", "--mode", "text", "label.canaries=0", "engine.openai.top_logprobs=0")
    held = cai_here(*words("label", port, *more, "engine.openai.structured=vllm", "-r", "held"), cwd=folder)
    assert held.code == 0, held.err
    bodies = [json.loads(body) for _, body in rows(folder / "runs" / "held" / "journal.sqlite").values()]
    raws = {vote["raw"] for body in bodies for c in body["comparisons"] for vote in c["votes"]}
    assert raws
    assert raws <= set(CHOICES)


def check_token_ids(port: int, folder: Path) -> None:
    """Token ids may be sent where our template is the server's; with another tokenizer the server is refused."""
    own = ("engine.openai.api=completions", "engine.openai.priority=true", "--limit", "3", "--max-tokens", "8")
    same = words("critique", port, *own, f"engine.openai.template={TINY}", "-r", "ids")
    assert cai_here(*same, cwd=folder).code == 0
    other = build("mistral", folder / "other")
    refused = cai_here(*words("critique", port, *own, f"engine.openai.template={other}", "-r", "other"), cwd=folder)
    assert refused.code == 2, refused.err
    assert "the served model tiny has another tokenizer or chat template than" in refused.err


def test_the_stub_is_what_vllm_asks_for() -> None:
    from importlib.metadata import version

    from cai.engine.vllm_stub import write_stub

    write_stub()
    assert version("vllm") == f"{version('vllm-cpu')}+cpu"
