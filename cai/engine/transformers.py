"""The embedded engine: a `transformers` model in this process, run by the continuous batch of `cai.engine.batching`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch

from cai.engine.batching.requests import Drawn, Scored, drawing, scoring
from cai.engine.batching.runner import Runner
from cai.engine.batching.scheduler import Scheduler
from cai.engine.files import ModelFiles, context_length, find_model, under_adapter
from cai.engine.options import least_worth, log_sum
from cai.engine.protocol import Completion, ContextTooLong, OptionScores, Sampling, Turn
from cai.engine.render import ChatRenderer, check_adapter, end_ids
from cai.errors import InputError
from cai.records import Usage
from cai.seeds import content_id

if TYPE_CHECKING:
    from cai.config.engine import EngineSettings

SLOTS = 32


def open_transformers(spec: EngineSettings, name: str, announce: Callable[[str], None]) -> TransformersEngine:
    """The engine for `spec`, running the model folder or hub name `name`, its files checked before it is loaded."""
    files = find_model(name, spec.revision)
    length = context_length(files.config, spec.context_length, name)
    if length is None:
        raise InputError(f"the model {name} does not tell its context length", "set engine.context_length")
    device = torch.device(_device(spec.device))
    engine = TransformersEngine(
        files,
        load_model(files, spec.dtype, device, spec.adapter),
        shown_name=spec.shown,
        adapter=spec.adapter,
        context_length=length,
        batch_size=spec.batch_size or SLOTS,
        kv_bytes=int(spec.kv_cache_gib * 2**30),
    )
    if not engine.exact:
        announce(
            "warning: this machine's matrix products depend on the batch in their last bits, so a rerun with another "
            "concurrency may, rarely, draw another token"
        )
    return engine


class TransformersEngine:
    """Generates and scores with one model. Requests of all chains share one batch; see `Scheduler`.

    `exact` says whether results were found to be bit for bit independent of the batch on this machine.
    """

    def __init__(
        self,
        files: ModelFiles,
        model: Any,
        *,
        shown_name: str = "",
        adapter: str = "",
        context_length: int,
        batch_size: int = 32,
        kv_bytes: int = 2**31,
    ) -> None:
        from transformers import AutoTokenizer

        self.model = shown_name or files.name
        self.fingerprint = under_adapter(files.fingerprint, adapter)
        self.context_length: int | None = context_length
        tokenizer = cast(Any, AutoTokenizer.from_pretrained(files.folder))
        self.renderer = ChatRenderer(tokenizer, self.model)
        check_adapter(self.renderer, adapter)
        self._context = context_length
        runner = Runner(model, most_slots=batch_size, budget=kv_bytes)
        self.exact = runner.exact
        self._runner = runner
        self._scheduler = Scheduler(runner, end_ids(files.folder, files.config, tokenizer), kv_bytes)

    def count_tokens(self, turns: tuple[Turn, ...], prefill: str = "") -> int:
        """Tokens of the rendered conversation with the generation prompt and `prefill`."""
        return len(self.renderer.prompt_ids(turns, prefill))

    def encode(self, turns: tuple[Turn, ...], prefill: str = "") -> tuple[int, ...]:
        """The token ids that `generate` feeds the model."""
        return self.renderer.prompt_ids(turns, prefill)

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling, *, prefill: str = "") -> Completion:
        """Draw one reply, at most up to the end of the context. Raises ContextTooLong where the prompt fills it."""
        ids = self._fitting(turns, prefill)
        request = drawing(ids, sampling, self._context)
        self._scheduler.submit(request)
        drawn = cast(Drawn, await asyncio.wrap_future(request.future))
        return Completion(
            text=self.renderer.decode(drawn.token_ids),
            finish_reason="length" if drawn.end_id is None else "stop",
            usage=Usage(
                calls=1, prompt_tokens=len(ids), cached_tokens=drawn.cached, completion_tokens=len(drawn.logprobs)
            ),
            token_ids=drawn.token_ids,
            end_id=drawn.end_id,
            logprobs=drawn.logprobs if sampling.logprobs else None,
        )

    async def option_logprobs(
        self, turns: tuple[Turn, ...], options: tuple[str, ...], *, prefill: str = ""
    ) -> OptionScores:
        """Score every option from one computation of the prompt, and one more for each start of a longer spelling."""
        ids = self._fitting(turns, prefill)
        spellings = [self.renderer.option_ids(option) for option in options]
        flat = [spelling for variants in spellings for spelling in variants]
        firsts = tuple(dict.fromkeys(spelling[0] for spelling in flat))
        begun = await self._score(ids, (), [firsts])
        known: dict[tuple[int, ...], float] = {
            (token,): logprob for token, logprob in zip(firsts, begun.logprobs[0], strict=True)
        }
        least = least_worth([known[spelling] for spelling in flat if len(spelling) == 1])
        endings: dict[tuple[int, ...], list[int]] = {}
        for spelling in flat:
            if len(spelling) > 1 and known[spelling[:1]] > least:
                endings.setdefault(spelling[:-1], []).append(spelling[-1])
        scored = await asyncio.gather(
            *(
                self._score(ids, start, [*((token,) for token in start[1:]), tuple(last)])
                for start, last in endings.items()
            )
        )
        for (start, last), result in zip(endings.items(), scored, strict=True):
            before = known[start[:1]] + sum(logprob for (logprob,) in result.logprobs[:-1])
            known |= {(*start, token): before + one for token, one in zip(last, result.logprobs[-1], strict=True)}
        usage = Usage(
            calls=1,
            prompt_tokens=len(ids) + sum(len(ids) + len(start) for start in endings),
            cached_tokens=begun.cached + sum(result.cached for result in scored),
        )
        logprobs = tuple(log_sum([known.get(one, -math.inf) for one in variants]) for variants in spellings)
        return OptionScores(logprobs, (False,) * len(options), usage)

    async def update_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Replace weights by their names in the model, after the requests made before; forgets every prefix."""
        taken = list(weights)

        def update() -> None:
            self._runner.update_weights(taken)
            self._scheduler.forget()

        await asyncio.wrap_future(self._scheduler.call(update))
        self.fingerprint = content_id("updated", self.fingerprint)

    async def reset_prefix_cache(self) -> None:
        """Forget every prefix."""
        await asyncio.wrap_future(self._scheduler.call(self._scheduler.forget))

    async def close(self) -> None:
        """Stop the thread after its current step; waiting requests are cancelled."""
        await asyncio.to_thread(self._scheduler.close)

    async def _score(self, ids: tuple[int, ...], start: tuple[int, ...], wanted: Sequence[tuple[int, ...]]) -> Scored:
        """Log-probs of wanted tokens after the last `len(wanted)` positions of the prompt and `start`."""
        request = scoring((*ids, *start), wanted)
        if len(request.ids) > self._context:
            raise ContextTooLong(f"prompt and option take {len(request.ids)} of {self._context} tokens")
        self._scheduler.submit(request)
        return cast(Scored, await asyncio.wrap_future(request.future))

    def _fitting(self, turns: tuple[Turn, ...], prefill: str) -> tuple[int, ...]:
        ids = self.renderer.prompt_ids(turns, prefill)
        if len(ids) >= self._context:
            raise ContextTooLong(f"the prompt takes {len(ids)} of {self._context} tokens of context")
        return ids


def load_model(files: ModelFiles, dtype: str | None, device: torch.device, adapter: str = "") -> Any:
    """The causal language model in a checked folder, with a LoRA adapter merged into it where one is named."""
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    kind: Any = dtype or ("float32" if device.type == "cpu" else "auto")
    try:
        model = AutoModelForCausalLM.from_pretrained(
            files.folder, dtype=kind, use_safetensors=True, trust_remote_code=False, attn_implementation="eager"
        )
    except (ValueError, OSError, MemoryError) as error:
        raise InputError(f"the model {files.name} cannot be loaded: {str(error).splitlines()[0]}") from error
    if adapter:
        from peft import PeftModel

        model = cast(Any, PeftModel.from_pretrained(cast(Any, model), adapter)).merge_and_unload()
    return cast(Any, model).to(device)


def _device(asked: str) -> str:
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"engine.device is {asked}, but there is no GPU here", "set it to auto or cpu")
    return asked
