"""vLLM in this process: one thread steps its engine, chains await their requests, changes run between two steps."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from cai.engine.files import ModelFiles, context_length, find_model, under_adapter
from cai.engine.options import log_sum
from cai.engine.protocol import Completion, ContextTooLong, OptionScores, Sampling, Turn
from cai.engine.render import ChatRenderer, end_ids
from cai.engine.stepping import Output, Stepper
from cai.errors import InputError
from cai.records import Usage
from cai.seeds import content_id

if TYPE_CHECKING:
    from torch import Tensor

    from cai.config.engine import EngineSettings

SUPPORTED = ((0, 25), (0, 33))
"""The oldest version that works, and the first one that was not tried."""
SEQUENCES = 256
QUIET = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CONFIGURE_LOGGING": "1",
}


def open_vllm(spec: EngineSettings, name: str) -> VllmEngine:
    """The engine for `spec`, running the model folder or hub name `name`, its files checked before it is loaded."""
    check_installed()
    files = find_model(name, spec.revision)
    length = context_length(files.config, spec.context_length, name)
    return VllmEngine(files, _start(files, spec, length), shown_name=spec.shown, adapter=spec.adapter)


def check_installed() -> None:
    """Raise InputError, with the command to run, unless a supported vLLM can be imported."""
    if importlib.util.find_spec("vllm") is None:
        raise InputError("vLLM is not installed", "on a GPU: pip install 'cai[vllm]'; on a CPU: make vllm")
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    import vllm  # pyright: ignore[reportMissingImports]

    found = tuple(int(part) for part in vllm.__version__.split("+")[0].split(".")[:2])
    if not SUPPORTED[0] <= found < SUPPORTED[1]:
        low, high = (".".join(map(str, version)) for version in SUPPORTED)
        raise InputError(f"vLLM {vllm.__version__} is not supported", f"install a version from {low} to below {high}")


class VllmEngine:
    """Generates and scores with one model of an in-process vLLM, perhaps under one of its LoRA adapters.

    `adapted` gives the same model under another adapter; all of them share one batch and one prefix cache.
    """

    def __init__(
        self, files: ModelFiles, engine: Any, *, shown_name: str = "", adapter: str = "", stepper: Stepper | None = None
    ) -> None:
        from transformers import AutoTokenizer

        self.model = shown_name or files.name
        self.fingerprint = under_adapter(files.fingerprint, adapter)
        self.context_length: int | None = engine.model_config.max_model_len
        self._files, self._engine, self._context = files, engine, int(engine.model_config.max_model_len)
        tokenizer = cast(Any, AutoTokenizer.from_pretrained(files.folder))
        self.renderer = ChatRenderer(tokenizer, self.model)
        self._ends = end_ids(files.folder, files.config, tokenizer)
        self._stepper = stepper or Stepper(engine)
        self._lora = self._stepper.lora(adapter) if adapter else None

    def adapted(self, adapter: str) -> VllmEngine:
        """The same model under the LoRA adapter in a folder. Needs `engine.vllm.max_loras`."""
        if self._engine.vllm_config.lora_config is None:
            raise InputError("this engine was opened without LoRA", "set engine.vllm.max_loras")
        return VllmEngine(
            self._files, self._engine, shown_name=f"{self.model} + {adapter}", adapter=adapter, stepper=self._stepper
        )

    def count_tokens(self, turns: tuple[Turn, ...], prefill: str = "") -> int:
        """Tokens of the rendered conversation with the generation prompt and `prefill`."""
        return len(self.renderer.prompt_ids(turns, prefill))

    def encode(self, turns: tuple[Turn, ...], prefill: str = "") -> tuple[int, ...]:
        """The token ids that `generate` feeds the model."""
        return self.renderer.prompt_ids(turns, prefill)

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling, *, prefill: str = "") -> Completion:
        """Draw one reply, at most up to the end of the context. Raises ContextTooLong where the prompt fills it."""
        ids = self._fitting(turns, prefill)
        output = await self._request(
            ids,
            seed=sampling.seed,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=min(sampling.max_tokens, self._context - len(ids)),
            logprobs=0 if sampling.logprobs else None,
            stop_token_ids=sorted(self._ends),
        )
        drawn = output.token_ids
        ended = bool(drawn) and drawn[-1] in self._ends
        text_ids = drawn[:-1] if ended else drawn
        return Completion(
            text=self.renderer.decode(text_ids),
            finish_reason="stop" if ended else "length",
            usage=Usage(
                calls=1, prompt_tokens=len(ids), cached_tokens=output.cached_tokens, completion_tokens=len(drawn)
            ),
            token_ids=text_ids,
            end_id=drawn[-1] if ended else None,
            logprobs=tuple(output.logprobs[at][token] for at, token in enumerate(drawn)) if sampling.logprobs else None,
        )

    async def option_logprobs(
        self, turns: tuple[Turn, ...], options: tuple[str, ...], *, prefill: str = ""
    ) -> OptionScores:
        """Score every option: one request for the prompt, one more for each further token of a spelling."""
        ids = self._fitting(turns, prefill)
        spellings = [self.renderer.option_ids(option) for option in options]
        wanted: dict[tuple[int, ...], list[int]] = {}
        for spelling in itertools.chain.from_iterable(spellings):
            for at, token in enumerate(spelling):
                wanted.setdefault(spelling[:at], []).append(token)
        if len(ids) + max(map(len, wanted)) >= self._context:
            raise ContextTooLong(f"prompt and options do not fit in {self._context} tokens of context")
        outputs = await asyncio.gather(
            *(self._next_logprobs((*ids, *start), tokens) for start, tokens in wanted.items())
        )
        told = dict(zip(wanted, outputs, strict=True))

        def logprob(spelling: tuple[int, ...]) -> float:
            return sum(told[spelling[:at]].logprobs[0][token] for at, token in enumerate(spelling))

        usage = Usage(
            calls=1,
            prompt_tokens=sum(len(ids) + len(start) for start in wanted),
            cached_tokens=sum(output.cached_tokens for output in outputs),
            completion_tokens=len(outputs),
        )
        logprobs = tuple(log_sum([logprob(spelling) for spelling in variants]) for variants in spellings)
        return OptionScores(logprobs, (False,) * len(options), usage)

    async def update_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Replace weights by their names in `transformers` between two steps; forgets every prefix."""
        taken = list(weights)

        def update() -> None:
            self._engine.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(taken)})
            self._engine.reset_prefix_cache()

        await self._stepper.call(update)
        self.fingerprint = content_id("updated", self.fingerprint)

    async def reset_prefix_cache(self) -> None:
        """Forget every prefix."""
        await self._stepper.call(self._engine.reset_prefix_cache)

    async def close(self) -> None:
        """Stop the thread after its current step; waiting requests are cancelled."""
        await asyncio.to_thread(self._stepper.close)

    async def _next_logprobs(self, ids: tuple[int, ...], tokens: Sequence[int]) -> Output:
        unique = list(dict.fromkeys(tokens))
        return await self._request(ids, seed=0, temperature=1.0, max_tokens=1, logprob_token_ids=unique)

    async def _request(self, ids: tuple[int, ...], **sampling: Any) -> Output:
        return await self._stepper.request(ids, {"detokenize": False, **sampling}, self._lora)

    def _fitting(self, turns: tuple[Turn, ...], prefill: str) -> tuple[int, ...]:
        ids = self.renderer.prompt_ids(turns, prefill)
        if len(ids) >= self._context:
            raise ContextTooLong(f"the prompt takes {len(ids)} of {self._context} tokens of context")
        return ids


def _start(files: ModelFiles, spec: EngineSettings, length: int | None) -> Any:
    """vLLM's engine for a checked model. Raises InputError with the settings to change where memory does not do."""
    from vllm import EngineArgs  # pyright: ignore[reportMissingImports]
    from vllm.platforms import current_platform  # pyright: ignore[reportMissingImports]
    from vllm.v1.engine.llm_engine import LLMEngine  # pyright: ignore[reportMissingImports]

    own, on_cpu = spec.vllm, current_platform.is_cpu()
    eager = on_cpu if own.eager is None else own.eager
    if on_cpu and eager:
        os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
    gib = own.kv_cache_gib or (0.25 if on_cpu else None)
    loras = max(own.max_loras, 1 if spec.adapter else 0)
    arguments: dict[str, Any] = {
        "model": str(files.folder),
        "dtype": spec.dtype or ("float32" if on_cpu else "auto"),
        "max_model_len": length,
        "max_num_seqs": spec.batch_size or SEQUENCES,
        "enforce_eager": eager,
        "gpu_memory_utilization": own.gpu_memory_utilization,
        "tensor_parallel_size": own.tensor_parallel,
        "kv_cache_memory_bytes": None if gib is None else int(gib * 2**30),
        "enable_prefix_caching": True,
        "skip_tokenizer_init": True,
        "logprobs_mode": "processed_logprobs",
        "generation_config": "vllm",
        "disable_log_stats": True,
        "seed": 0,
    }
    if on_cpu:
        # Multiples of 32 are allowed; the smallest shares the most prefixes. A prompt cut over two steps would make
        # vLLM 0.32 rewind its request's random generator, which CPU generators cannot do: prompts are never cut.
        arguments |= {
            "block_size": 32,
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(2048, length or 0),
        }
    if loras:
        # On a CPU adapter and base model in one batch come out wrong without a slot to spare.
        arguments |= {"enable_lora": True, "max_loras": loras + 1, "max_lora_rank": own.max_lora_rank}
    try:
        return LLMEngine.from_engine_args(EngineArgs(**arguments))
    except (ValueError, RuntimeError, MemoryError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        remedy = "see what vLLM says"
        if any(word in str(error).lower() for word in ("memory", "kv cache", "allocate")):
            remedy = "lower engine.context_length or engine.batch_size, or raise engine.vllm.kv_cache_gib"
            remedy += "" if on_cpu else " or engine.vllm.gpu_memory_utilization"
        raise InputError(f"vLLM cannot run {files.name}: {reason}", remedy) from error
