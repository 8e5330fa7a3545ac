"""The policy on a vLLM server: what it is asked, how weights reach it, and what is said of a server that cannot."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cai.config.engine import EngineSettings
from cai.engine.protocol import EngineDown, EngineFault, Sampling, Turn
from cai.engine.served_policy import open_served_policy
from cai.errors import InputError
from cai.testbed import TINY

END = 1
ASKED = (Turn("user", "Hello"),)


class Server:
    """Answers as vLLM does where it is asked for token ids; `broken` paths answer with the status given, 0 is never.

    Whoever gets status 429 is told to wait more than an hour.
    """

    def __init__(self, choice: dict[str, Any], broken: dict[str, int]) -> None:
        self.choice, self.broken = choice, broken
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.weights: dict[str, torch.Tensor] = {}
        self.ended = threading.Event()

    def answer(self, path: str, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.asked.append((path, asked))
        if self.broken.get(path) == 0:
            self.ended.wait(60)
        if path in self.broken:
            return self.broken[path], {"error": {"message": "no"}}
        if path == "/collective_rpc":
            self.weights = load_file(Path(asked["kwargs"]["weights_path"]) / "model.safetensors")
        return 200, {"data": [{"id": "served"}], "choices": [self.choice]}


@contextmanager
def serving(choice: dict[str, Any] | None = None, **broken: int) -> Iterator[tuple[Server, EngineSettings]]:
    told = {"text": "", "token_ids": [30, 31, END], "logprobs": {"token_logprobs": [-1.0, -2.0, -0.5]}}
    server = Server(told if choice is None else choice, {f"/{name}": status for name, status in broken.items()})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}"))

        def _answer(self, asked: dict[str, Any]) -> None:
            status, content = server.answer(self.path, asked)
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if status == 429:
                self.send_header("Retry-After", "4000")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return None

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{listening.server_port}/v1"
    quick = {"base_url": url, "attempts": 2, "first_wait": 0.0, "breaker_seconds": 0.0}
    try:
        yield server, EngineSettings.model_validate({"kind": "openai", "openai": quick})
    finally:
        server.ended.set()
        listening.shutdown()
        listening.server_close()


def test_a_reply_comes_with_its_ids_and_log_probs_and_is_asked_by_ids() -> None:
    with serving() as (server, spec):
        engine = open_served_policy(spec, str(TINY))
        drawn = asyncio.run(engine.generate(ASKED, Sampling(7, 0.8, 0.9, 5, logprobs=True)))
    assert (drawn.token_ids, drawn.end_id, drawn.logprobs) == ((30, 31), END, (-1.0, -2.0, -0.5))
    assert drawn.text == engine.renderer.decode((30, 31))
    path, asked = server.asked[-1]
    assert path == "/v1/completions"
    wanted = {"model": "served", "temperature": 0.8, "top_p": 0.9, "max_tokens": 5, "seed": 7, "return_token_ids": True}
    assert {name: asked[name] for name in wanted} == wanted
    assert asked["prompt"] == list(engine.encode(ASKED))


def test_a_cut_reply_has_no_end() -> None:
    with serving({"text": "", "token_ids": [30], "logprobs": {"token_logprobs": [-1.0]}}) as (_, spec):
        drawn = asyncio.run(open_served_policy(spec, str(TINY)).generate(ASKED, Sampling(7, max_tokens=1)))
    assert (drawn.finish_reason, drawn.end_id, drawn.logprobs) == ("length", None, None)


def test_weights_are_there_when_the_server_reads_them_and_its_cache_is_dropped_after() -> None:
    weights = [("a.weight", torch.arange(6.0).view(2, 3).T), ("b", torch.ones(2))]
    with serving() as (server, spec):
        engine = open_served_policy(spec, str(TINY))
        before = engine.fingerprint
        asyncio.run(engine.update_weights(weights))
    assert [path for path, _ in server.asked[-2:]] == ["/collective_rpc", "/reset_prefix_cache"]
    assert server.asked[-2][1]["method"] == "reload_weights"
    assert all(torch.equal(server.weights[name], value) for name, value in weights)
    assert not Path(server.asked[-2][1]["kwargs"]["weights_path"]).exists()
    assert engine.fingerprint != before


def test_a_server_that_cannot_is_told_before_anything_runs() -> None:
    with (
        serving(reset_prefix_cache=404) as (_, spec),
        pytest.raises(InputError, match="does not let its weights be changed; start it as VLLM_SERVER_DEV_MODE=1"),
    ):
        open_served_policy(spec, str(TINY))
    away = EngineSettings.model_validate({"kind": "openai", "openai": {"base_url": "http://127.0.0.1:9/v1"}})
    with pytest.raises(InputError, match="no vLLM server answers at http"):
        open_served_policy(away, str(TINY))


def test_a_server_that_goes_wrong_later_stops_the_run() -> None:
    with serving({"text": "no ids"}) as (server, spec):
        engine = open_served_policy(spec, str(TINY))
        with pytest.raises((EngineFault, EngineDown), match="told no token ids"):
            asyncio.run(engine.generate(ASKED, Sampling(7)))
        server.broken["/collective_rpc"] = 500
        with pytest.raises(EngineDown, match="did not take the new weights: status 500"):
            asyncio.run(engine.update_weights([("a", torch.ones(1))]))


def test_a_server_that_asks_for_a_long_wait_stops_the_run() -> None:
    with serving() as (server, spec):
        engine = open_served_policy(spec, str(TINY))
        server.broken["/v1/completions"] = 429
        with pytest.raises(EngineDown, match="wait 4000 s"):
            asyncio.run(engine.generate(ASKED, Sampling(7)))


def test_a_server_that_never_takes_the_weights_stops_the_run() -> None:
    with serving() as (server, spec):
        quick = spec.openai.model_copy(update={"timeout": 0.3})
        engine = open_served_policy(spec.model_copy(update={"openai": quick}), str(TINY))
        server.broken["/collective_rpc"] = 0
        with pytest.raises(EngineDown, match=r"did not take the new weights: no answer within 0\.3 s"):
            asyncio.run(engine.update_weights([("a", torch.ones(1))]))
