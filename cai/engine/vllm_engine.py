"""vLLM, embedded: one thread of this process steps its engine, or drives the processes of a larger one.

Chains await their requests; changes of weights run between two steps.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from cai.engine.files import ModelFiles, context_length, find_model, under_adapter
from cai.engine.options import least_worth, log_sum
from cai.engine.protocol import Completion, ContextTooLong, OptionScores, Sampling, Turn
from cai.engine.render import ChatRenderer, check_adapter, end_ids
from cai.engine.stepping import Driver, Loras, Output, Stepper
from cai.engine.vllm_start import check_installed, engine_arguments, why_not
from cai.errors import InputError
from cai.records import Usage
from cai.seeds import content_id

if TYPE_CHECKING:
    from torch import Tensor

    from cai.config.engine import EngineSettings


def open_vllm(spec: EngineSettings, name: str) -> VllmEngine:
    """The engine for `spec`, running the model folder or hub name `name`, its files checked before it is loaded."""
    check_installed()
    files = find_model(name, spec.revision)
    under_adapter("", spec.adapter)
    arguments = engine_arguments(files, spec, context_length(files.config, spec.context_length, name))
    try:
        engine, driver = _start(arguments, own_processes=spec.vllm.in_processes)
    except (ValueError, RuntimeError, MemoryError) as error:
        raise why_not(error, files.name) from error
    return VllmEngine(files, engine, driver, shown_name=spec.shown, adapter=spec.adapter)


def _start(arguments: dict[str, Any], *, own_processes: bool) -> tuple[Any, Driver]:
    """vLLM's engine and what drives it."""
    if own_processes:
        from cai.engine.vllm_processes import Processes

        driver = Processes(arguments)
        return driver.engine, driver
    from vllm import EngineArgs  # pyright: ignore[reportMissingImports]
    from vllm.v1.engine.llm_engine import LLMEngine  # pyright: ignore[reportMissingImports]

    engine = LLMEngine.from_engine_args(EngineArgs(**arguments))
    return engine, Stepper(engine)


class VllmEngine:
    """Generates and scores with one model of an in-process vLLM, perhaps under one of its LoRA adapters.

    `adapted` gives the same model under another adapter; all of them share one batch and one prefix cache.
    """

    def __init__(
        self,
        files: ModelFiles,
        engine: Any,
        driver: Driver,
        *,
        shown_name: str = "",
        adapter: str = "",
        loras: Loras | None = None,
    ) -> None:
        from transformers import AutoTokenizer

        self.model = shown_name or files.name
        self.fingerprint = under_adapter(files.fingerprint, adapter)
        self.context_length: int | None = engine.model_config.max_model_len
        self._files, self._engine, self._driver = files, engine, driver
        self._context = int(engine.model_config.max_model_len)
        self._sleeps, self._asleep = bool(engine.model_config.enable_sleep_mode), False
        tokenizer = cast(Any, AutoTokenizer.from_pretrained(files.folder))
        self.renderer = ChatRenderer(tokenizer, self.model)
        check_adapter(self.renderer, adapter)
        self._ends = end_ids(files.folder, files.config, tokenizer)
        self._loras = loras or Loras()
        self._lora = self._loras.of(adapter) if adapter else None

    def adapted(self, adapter: str) -> VllmEngine:
        """The same model under the LoRA adapter in a folder. Needs `engine.vllm.max_loras`."""
        if self._engine.vllm_config.lora_config is None:
            raise InputError("this engine was opened without LoRA", "set engine.vllm.max_loras")
        name = f"{self.model} + {adapter}"
        return VllmEngine(self._files, self._engine, self._driver, shown_name=name, adapter=adapter, loras=self._loras)

    def count_tokens(self, turns: tuple[Turn, ...], prefill: str = "") -> int:
        """Tokens of the rendered conversation with the generation prompt and `prefill`."""
        return len(self.renderer.prompt_ids(turns, prefill))

    def encode(self, turns: tuple[Turn, ...], prefill: str = "") -> tuple[int, ...]:
        """The token ids that `generate` feeds the model."""
        return self.renderer.prompt_ids(turns, prefill)

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling, *, prefill: str = "") -> Completion:
        """Draw one reply, at most up to the end of the context. Raises ContextTooLong where the prompt fills it.

        Of requests that wait for a seat, the conversation with the most turns goes first, so that chains end before
        others begin.
        """
        ids = self._fitting(turns, prefill)
        output = await self._request(
            ids,
            -len(turns),
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
        """Score every option: one request for the prompt, one more for each start of a longer spelling."""
        ids = self._fitting(turns, prefill)
        spellings = [self.renderer.option_ids(option) for option in options]
        flat = list(itertools.chain.from_iterable(spellings))
        told: dict[tuple[int, ...], Output] = {(): await self._next_logprobs(ids, [spelling[0] for spelling in flat])}
        first = told[()].logprobs[0]
        least = least_worth([first[spelling[0]] for spelling in flat if len(spelling) == 1])
        worth = [spelling for spelling in flat if len(spelling) == 1 or first[spelling[0]] > least]
        wanted: dict[tuple[int, ...], list[int]] = {}
        for spelling in worth:
            for at in range(1, len(spelling)):
                wanted.setdefault(spelling[:at], []).append(spelling[at])
        if len(ids) + max(map(len, wanted), default=0) >= self._context:
            raise ContextTooLong(f"prompt and options do not fit in {self._context} tokens of context")
        outputs = await asyncio.gather(
            *(self._next_logprobs((*ids, *start), tokens) for start, tokens in wanted.items())
        )
        told |= zip(wanted, outputs, strict=True)

        def logprob(spelling: tuple[int, ...]) -> float:
            return sum(told[spelling[:at]].logprobs[0][token] for at, token in enumerate(spelling))

        known = {spelling: logprob(spelling) for spelling in worth}
        usage = Usage(
            calls=1,
            prompt_tokens=sum(len(ids) + len(start) for start in told),
            cached_tokens=sum(output.cached_tokens for output in told.values()),
            completion_tokens=len(told),
        )
        logprobs = tuple(log_sum([known.get(one, -math.inf) for one in variants]) for variants in spellings)
        return OptionScores(logprobs, (False,) * len(options), usage)

    async def update_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Replace weights by their names in `transformers` between two steps; forgets every prefix."""
        await self._driver.update(list(weights))
        self.fingerprint = content_id("updated", self.fingerprint)

    async def rest(self) -> None:
        """Where it was opened to, lend the GPU's memory until `wake`: weights and cache leave it."""
        if self._sleeps and not self._asleep:
            await self._driver.rest()
            self._asleep = True

    async def wake(self) -> None:
        """Take the memory back."""
        if self._asleep:
            await self._driver.wake()
            self._asleep = False

    async def reset_prefix_cache(self) -> None:
        """Forget every prefix."""
        await self._driver.forget()

    async def close(self) -> None:
        """Stop after the current step; waiting requests are cancelled."""
        await asyncio.to_thread(self._driver.close)

    async def _next_logprobs(self, ids: tuple[int, ...], tokens: Sequence[int]) -> Output:
        unique = list(dict.fromkeys(tokens))
        return await self._request(ids, 0, seed=0, temperature=1.0, max_tokens=1, logprob_token_ids=unique)

    async def _request(self, ids: tuple[int, ...], priority: int, **sampling: Any) -> Output:
        return await self._driver.request(ids, sampling, self._lora, priority)

    def _fitting(self, turns: tuple[Turn, ...], prefill: str) -> tuple[int, ...]:
        ids = self.renderer.prompt_ids(turns, prefill)
        if len(ids) >= self._context:
            raise ContextTooLong(f"the prompt takes {len(ids)} of {self._context} tokens of context")
        return ids
