"""The policy of a training on a vLLM server of this machine: its weights go through a folder, its log-probs come back.

The server runs with `VLLM_SERVER_DEV_MODE=1`, which opens the calls that reload weights, and with
`--logprobs-mode processed_logprobs`, so that log-probs are those at the sampling temperature.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cai.engine.connections import Connections
from cai.engine.files import ModelFiles, context_length, find_model
from cai.engine.protocol import Completion, OptionScores, OptionsUnsupported, Sampling, Turn
from cai.engine.render import ChatRenderer, end_ids
from cai.engine.retry import Attempt, Patience, Retrier, seconds_to_wait
from cai.engine.served import refuse
from cai.errors import EngineDown, InputError, Where
from cai.records import Usage
from cai.seeds import content_id

if TYPE_CHECKING:
    from torch import Tensor

    from cai.config.engine import EngineSettings

MEMORY = Path("/dev/shm")
"""Where weights are handed over, if there is such a place: a file system in memory."""
HOW = "start it as VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --logprobs-mode processed_logprobs"


def open_served_policy(spec: EngineSettings, name: str) -> ServedPolicy:
    """The engine for the policy in the folder `name`; its server's address stands in `spec.openai`.

    Raises InputError where there is no such server, or one whose weights cannot be changed.
    """
    import httpx

    files = find_model(name, spec.revision)
    own = spec.openai
    root, where = own.base_url.rstrip("/").removesuffix("/v1"), Where("engine.openai.base_url")
    try:
        served = httpx.get(f"{root}/v1/models", timeout=own.timeout).json()["data"][0]["id"]
        opened = httpx.post(f"{root}/reset_prefix_cache", timeout=own.timeout).status_code
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
        raise InputError(f"no vLLM server answers at {own.base_url}: {error}", HOW, where) from error
    if opened != 200:
        raise InputError(f"the server at {own.base_url} does not let its weights be changed", HOW, where)
    return ServedPolicy(files, root, str(served), spec)


class ServedPolicy:
    """Draws replies from a served model and replaces its weights. `generate` reads token ids, so text is ours."""

    def __init__(self, files: ModelFiles, root: str, served: str, spec: EngineSettings) -> None:
        from transformers import AutoTokenizer

        self.model, self.fingerprint = files.name, files.fingerprint
        self.context_length = context_length(files.config, spec.context_length, files.name)
        tokenizer = cast(Any, AutoTokenizer.from_pretrained(files.folder))
        self.renderer = ChatRenderer(tokenizer, self.model)
        self._ends = end_ids(files.folder, files.config, tokenizer)
        self._root, self._served, own = root, served, spec.openai
        self._retrier = Retrier(Patience.of(own))
        self._server, self._timeout = Connections(root), own.timeout

    def count_tokens(self, turns: tuple[Turn, ...], prefill: str = "") -> int:
        """Tokens of the rendered conversation with the generation prompt and `prefill`."""
        return len(self.renderer.prompt_ids(turns, prefill))

    def encode(self, turns: tuple[Turn, ...], prefill: str = "") -> tuple[int, ...]:
        """The token ids that `generate` feeds the model."""
        return self.renderer.prompt_ids(turns, prefill)

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling, *, prefill: str = "") -> Completion:
        """Draw one reply. Raises what `refuse` raises, EngineDown where the server is gone."""
        ids = self.renderer.prompt_ids(turns, prefill)
        asked = {
            "model": self._served,
            "prompt": list(ids),
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed % 2**31,
            "logprobs": 0,
            "return_token_ids": True,
            "stop_token_ids": sorted(self._ends),
            "add_special_tokens": False,
        }
        drawn, logprobs = _drawn(await self._retrier.run(lambda: self._post("/v1/completions", asked)))
        ended = bool(drawn) and drawn[-1] in self._ends
        text_ids = drawn[:-1] if ended else drawn
        return Completion(
            text=self.renderer.decode(text_ids),
            finish_reason="stop" if ended else "length",
            usage=Usage(calls=1, prompt_tokens=len(ids), completion_tokens=len(drawn)),
            token_ids=text_ids,
            end_id=drawn[-1] if ended else None,
            logprobs=logprobs if sampling.logprobs else None,
        )

    async def option_logprobs(
        self, turns: tuple[Turn, ...], options: tuple[str, ...], *, prefill: str = ""
    ) -> OptionScores:
        """Not for judging: a judge's server is of the engine `openai`."""
        raise OptionsUnsupported("the policy's server is not asked to judge")

    async def update_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Write the weights to a folder that the server reads, wait until it has, and drop its cached prefixes."""
        from safetensors.torch import save_file

        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in weights}
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
            save_file(tensors, Path(folder) / "model.safetensors")
            reload = {"method": "reload_weights", "kwargs": {"weights_path": folder}}
            for path, asked in (("/collective_rpc", reload), ("/reset_prefix_cache", {})):
                try:
                    async with asyncio.timeout(self._timeout):
                        await self._post(path, asked)
                except (Attempt, TimeoutError) as fault:
                    why = str(fault) or f"no answer within {self._timeout:g} s"
                    raise EngineDown(f"the policy's server did not take the new weights: {why}") from fault
        self.fingerprint = content_id("updated", self.fingerprint)

    async def close(self) -> None:
        """Close the connections; the server goes on with the last weights."""
        await self._server.close()

    async def _post(self, path: str, asked: dict[str, Any]) -> str:
        """The body of a response of status 200."""
        response = await self._server.post(f"{self._root}{path}", asked)
        if response.status != 200:
            refuse(response.status, response.body, limited_for=seconds_to_wait(response.retry_after))
        return response.body


def _drawn(body: str) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Drawn token ids and their log-probs. Raises Attempt for a body without them."""
    try:
        choice = json.loads(body)["choices"][0]
        ids, logprobs = choice["token_ids"], choice["logprobs"]["token_logprobs"]
        return tuple(int(i) for i in ids), tuple(float(v) for v in logprobs)
    except (ValueError, LookupError, TypeError) as error:
        raise Attempt(f"the server told no token ids and log-probs: {body[:200]}") from error
