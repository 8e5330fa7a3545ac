"""vLLM in processes of its own: a model split over two, two copies of it, and one that dies."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from cai.config.engine import EngineSettings, VllmSettings
from cai.engine import Completion, EngineDown, RecordFault, Sampling, Turn
from tests.engine.processes import children
from tests.engine.small_models import build

pytestmark = pytest.mark.vllm
pytest.importorskip("vllm", reason="the vLLM step of CI installs it")

from tests.engine.test_vllm import TEXTS, all_of, ask  # noqa: E402 - it needs vLLM too


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("llama", tmp_path_factory.mktemp("vllm"), num_key_value_heads=4, hidden_size=128)


@pytest.fixture(scope="module")
def greedy(folder: Path) -> list[tuple[int, ...]]:
    """What the transformers engine replies."""
    from cai.engine.transformers import open_transformers

    engine = open_transformers(EngineSettings(model=str(folder)), str(folder), print)
    replies = asyncio.run(all_of(engine, TEXTS, temperature=0.0, max_tokens=12))
    asyncio.run(engine.close())
    return [reply.token_ids for reply in replies]


def opened(folder: Path, **settings: Any) -> Any:
    from cai.engine.vllm_engine import open_vllm

    vllm = VllmSettings(kv_cache_gib=0.1, **settings)
    return open_vllm(EngineSettings(kind="vllm", model=str(folder), batch_size=16, vllm=vllm), str(folder))


@pytest.fixture(scope="module")
def copies(folder: Path) -> Iterator[Any]:
    """Two copies of the model."""
    engine = opened(folder, data_parallel=2)
    yield engine
    asyncio.run(engine.close())


def test_a_model_split_over_two_processes_answers_as_the_transformers_engine(
    folder: Path, greedy: list[tuple[int, ...]]
) -> None:
    engine = opened(folder, tensor_parallel=2)
    try:
        replies = asyncio.run(all_of(engine, TEXTS, temperature=0.0, max_tokens=12))
    finally:
        asyncio.run(engine.close())
    assert [reply.token_ids for reply in replies] == greedy
    with pytest.raises(EngineDown, match="closed"):
        asyncio.run(engine.generate(ask("Hi"), Sampling(0)))


def test_two_copies_answer_as_the_transformers_engine(copies: Any, greedy: list[tuple[int, ...]]) -> None:
    replies = asyncio.run(all_of(copies, TEXTS * 4, temperature=0.0, max_tokens=12))
    assert [reply.token_ids for reply in replies] == greedy * 4


def test_a_chain_stays_with_the_copy_that_has_its_start(copies: Any) -> None:
    """Six chains at once, over both copies: each second turn finds its first one in the cache."""

    async def chain(number: int) -> tuple[Completion, Completion]:
        first = ask(f"{number} {TEXTS[2]}")
        draft = await copies.generate(first, Sampling(number, max_tokens=40))
        turns = (*first, Turn("assistant", draft.text, draft.token_ids), Turn("user", "Is it kind?"))
        return draft, await copies.generate(turns, Sampling(number, max_tokens=4))

    async def chains() -> list[tuple[Completion, Completion]]:
        await copies.reset_prefix_cache()
        return list(await asyncio.gather(*(chain(number) for number in range(6))))

    for draft, critique in asyncio.run(chains()):
        assert draft.usage.cached_tokens < 64
        assert critique.usage.cached_tokens >= draft.usage.prompt_tokens - 32


def test_a_bad_request_and_a_cancelled_one_leave_the_others_alone(copies: Any) -> None:
    async def mixed() -> list[Any]:
        doomed = asyncio.create_task(copies.generate(ask(TEXTS[2]), Sampling(1, max_tokens=400)))
        await asyncio.sleep(0.05)
        doomed.cancel()
        calls = [
            copies.generate(ask("Hi"), Sampling(0, top_p=7.0, max_tokens=4)),
            copies.generate(ask("Hi"), Sampling(0, max_tokens=4)),
        ]
        return list(await asyncio.gather(*calls, return_exceptions=True))

    odd, good = asyncio.run(asyncio.wait_for(mixed(), 60))
    assert isinstance(odd, RecordFault)
    assert good.usage.completion_tokens >= 1


def test_new_weights_reach_both_copies(copies: Any, folder: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1 + 0.5 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    prompts = [copies.encode(ask(text)) for text in TEXTS]
    expected = list[tuple[int, ...]]()
    for ids in prompts:
        batch = torch.tensor([ids])
        out = model.generate(
            batch, attention_mask=torch.ones_like(batch), do_sample=False, max_new_tokens=8, pad_token_id=0
        )
        expected.append(tuple(out[0, len(ids) :].tolist()))

    async def run() -> list[list[Completion]]:
        before = asyncio.create_task(all_of(copies, TEXTS * 4, temperature=0.0, max_tokens=8))
        await asyncio.sleep(0.02)
        await copies.update_weights(model.state_dict().items())
        return [await before, await all_of(copies, TEXTS * 4, temperature=0.0, max_tokens=8)]

    before, after = asyncio.run(run())
    told = [reply.token_ids for reply in after]
    assert told == [ids[: len(reply)] for ids, reply in zip(expected * 4, told, strict=True)]
    assert told != [reply.token_ids for reply in before]


def test_a_copy_that_dies_stops_the_run_resumable(copies: Any) -> None:
    """Runs last: the engine is shared."""

    async def run() -> None:
        asked = asyncio.create_task(all_of(copies, TEXTS * 40, max_tokens=400))
        await asyncio.sleep(0.05)
        found = children(os.getpid(), "EngineCore")
        assert len(found) == 2
        os.kill(found[0], signal.SIGKILL)
        await asked

    with pytest.raises(EngineDown, match="vLLM has stopped"):
        asyncio.run(asyncio.wait_for(run(), 120))
    with pytest.raises(EngineDown, match="vLLM has stopped"):
        asyncio.run(copies.generate(ask("Hi"), Sampling(0)))
