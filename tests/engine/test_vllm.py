"""vLLM in process against the transformers engine and against itself. Starts a real vLLM on the CPU."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from cai.config.engine import EngineSettings, VllmSettings
from cai.engine import Completion, ContextTooLong, EngineDown, RecordFault, Sampling, Turn
from cai.errors import InputError
from tests.engine.small_models import build

pytestmark = pytest.mark.vllm
pytest.importorskip("vllm", reason="the vLLM step of CI installs it")

TEXTS = ["Hello", "How do I take the lamp off the wall?", "Is it kind, short and true?\nSay so, or say why. " * 8]


def ask(text: str) -> tuple[Turn, ...]:
    return (Turn("user", text),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("llama", tmp_path_factory.mktemp("vllm"), num_key_value_heads=4, hidden_size=128)


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Any]:
    from cai.engine.vllm_engine import open_vllm

    spec = EngineSettings(kind="vllm", model=str(folder), vllm=VllmSettings(max_loras=2, kv_cache_gib=0.1))
    engine = open_vllm(spec, str(folder))
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def embedded(folder: Path) -> Iterator[Any]:
    from cai.engine.transformers import open_transformers

    engine = open_transformers(EngineSettings(model=str(folder)), str(folder), print)
    yield engine
    asyncio.run(engine.close())


def adapter(folder: Path, place: Path, seed: int) -> Path:
    """A LoRA adapter with random weights, big enough to change replies."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    lora = get_peft_model(model, LoraConfig(r=8, lora_alpha=32, target_modules=["q_proj", "v_proj"]))
    with torch.no_grad():
        for name, weight in lora.named_parameters():
            if "lora_" in name:
                weight.normal_(0, 0.3)
    lora.save_pretrained(place)
    return place


async def all_of(engine: Any, texts: list[str], **sampling: Any) -> list[Completion]:
    calls = [engine.generate(ask(text), Sampling(seed, **sampling)) for seed, text in enumerate(texts)]
    return list(await asyncio.gather(*calls))


def test_greedy_replies_are_those_of_the_transformers_engine(engine: Any, embedded: Any) -> None:
    ours = asyncio.run(all_of(embedded, TEXTS, temperature=0.0, max_tokens=24))
    theirs = asyncio.run(all_of(engine, TEXTS, temperature=0.0, max_tokens=24))
    assert [(r.token_ids, r.end_id, r.text) for r in theirs] == [(r.token_ids, r.end_id, r.text) for r in ours]
    assert engine.fingerprint == embedded.fingerprint


def test_options_are_within_a_thousandth_of_the_transformers_engine(engine: Any, embedded: Any) -> None:
    options = ("A", "B", "No change needed", "zebra 7")

    async def both(text: str) -> tuple[Any, Any]:
        return (
            await engine.option_logprobs(ask(text), options, prefill="It is"),
            await embedded.option_logprobs(ask(text), options, prefill="It is"),
        )

    for text in TEXTS:
        theirs, ours = asyncio.run(both(text))
        assert theirs.logprobs == pytest.approx(ours.logprobs, abs=1e-3)


def test_a_seed_gives_one_reply_and_its_logprobs_follow_the_temperature(engine: Any, folder: Path) -> None:
    first, again = (asyncio.run(all_of(engine, TEXTS, temperature=0.7, max_tokens=12, logprobs=True)) for _ in "12")
    assert [r.token_ids for r in first] == [r.token_ids for r in again]
    reply, prompt = first[1], engine.encode(ask(TEXTS[1]))
    drawn = (*reply.token_ids, *(() if reply.end_id is None else (reply.end_id,)))
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    logits = model(torch.tensor([(*prompt, *drawn)])).logits[0, len(prompt) - 1 : -1].detach()
    expected = torch.log_softmax(logits / 0.7, -1).gather(-1, torch.tensor(drawn)[:, None])[:, 0]
    torch.testing.assert_close(torch.tensor(reply.logprobs), expected, atol=1e-3, rtol=0)


def test_the_prefix_cache_is_used_and_reported(engine: Any) -> None:
    async def chain() -> tuple[Completion, Completion]:
        await engine.reset_prefix_cache()
        draft = await engine.generate(ask(TEXTS[2]), Sampling(3, max_tokens=40))
        turns = (*ask(TEXTS[2]), Turn("assistant", draft.text, draft.token_ids), Turn("user", "Is it kind?"))
        return draft, await engine.generate(turns, Sampling(4, max_tokens=4))

    draft, critique = asyncio.run(chain())
    assert draft.usage.cached_tokens == 0
    assert critique.usage.cached_tokens >= draft.usage.prompt_tokens - 32


def test_a_bad_request_fails_alone(engine: Any) -> None:
    async def mixed() -> list[Any]:
        calls = [
            engine.generate(ask("word " * 3000), Sampling(0)),
            engine.generate(ask("Hi"), Sampling(0, top_p=7.0, max_tokens=4)),
            engine.generate(ask("Hi"), Sampling(0, max_tokens=4)),
        ]
        return list(await asyncio.gather(*calls, return_exceptions=True))

    long, odd, good = asyncio.run(mixed())
    assert isinstance(long, ContextTooLong)
    assert isinstance(odd, RecordFault)
    assert good.usage.completion_tokens >= 1


def test_a_cancelled_request_leaves_the_engine(engine: Any) -> None:
    async def run() -> Completion:
        doomed = asyncio.create_task(engine.generate(ask(TEXTS[2]), Sampling(1, max_tokens=400)))
        await asyncio.sleep(0.1)
        doomed.cancel()
        return await engine.generate(ask("Hi"), Sampling(2, max_tokens=4))

    assert asyncio.run(asyncio.wait_for(run(), 60)).usage.completion_tokens >= 1


def test_adapters_are_switched_per_request(engine: Any, embedded: Any, folder: Path, tmp_path: Path) -> None:
    """Base model and two adapters asked at once, each as the transformers engine answers with the adapter merged in."""
    from cai.engine.transformers import open_transformers

    adapters = [adapter(folder, tmp_path / f"adapter{seed}", seed) for seed in (1, 2)]
    expected = [asyncio.run(all_of(embedded, TEXTS, temperature=0.0, max_tokens=12))]
    for place in adapters:
        merged = open_transformers(EngineSettings(model=str(folder), adapter=str(place)), str(folder), print)
        expected.append(asyncio.run(all_of(merged, TEXTS, temperature=0.0, max_tokens=12)))
        asyncio.run(merged.close())

    async def together() -> list[list[Completion]]:
        engines = [engine, *(engine.adapted(str(place)) for place in adapters)]
        return list(await asyncio.gather(*(all_of(one, TEXTS, temperature=0.0, max_tokens=12) for one in engines)))

    told = [[reply.token_ids for reply in replies] for replies in asyncio.run(together())]
    assert told == [[reply.token_ids for reply in replies] for replies in expected]
    assert told[0] != told[1] != told[2]


def test_a_folder_that_is_no_adapter_is_refused(engine: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a LoRA adapter"):
        engine.adapted(str(tmp_path))


def test_too_little_memory_names_the_settings_to_change(folder: Path) -> None:
    from cai.engine.vllm_engine import open_vllm

    spec = EngineSettings(kind="vllm", model=str(folder), vllm=VllmSettings(kv_cache_gib=0.0001))
    with pytest.raises(InputError, match=r"engine\.vllm\.kv_cache_gib"):
        open_vllm(spec, str(folder))


def test_new_weights_take_effect_and_forget_prefixes(tmp_path_factory: pytest.TempPathFactory) -> None:
    """In a process of its own, since weights of an engine with adapters have other names in vLLM."""
    import subprocess
    import sys

    folder = build("llama", tmp_path_factory.mktemp("reload"), num_key_value_heads=4, hidden_size=128)
    script = Path(__file__).with_name("reload_weights.py")
    done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "new weights answer, no stale prefix"


def test_a_closed_engine_says_so(engine: Any, folder: Path) -> None:
    """Runs last: the engine is shared."""
    asyncio.run(engine.close())
    with pytest.raises(EngineDown, match="closed"):
        asyncio.run(engine.generate(ask("Hi"), Sampling(0)))


def test_options_in_bfloat16_are_within_two_hundredths(tmp_path: Path) -> None:
    """Both engines in that format, which rounds at the third digit, on a model that is not made to amplify it.

    After the shared engine is closed: to close one of two vLLM engines in a process ends the process groups of both.
    """
    from cai.engine.transformers import open_transformers
    from cai.engine.vllm_engine import open_vllm

    folder = str(build("llama", tmp_path, num_key_value_heads=4, hidden_size=128, initializer_range=0.05))
    spec = EngineSettings(model=folder, dtype="bfloat16", vllm=VllmSettings(kv_cache_gib=0.1))
    engines = (open_transformers(spec, folder, print), open_vllm(spec, folder))

    async def told(engine: Any) -> list[tuple[float, ...]]:
        scores = [await engine.option_logprobs(ask(text), ("A", "B"), prefill="It is") for text in TEXTS]
        await engine.close()
        return [score.logprobs for score in scores]

    ours, theirs = (asyncio.run(told(engine)) for engine in engines)
    assert ours != theirs
    for one, other in zip(theirs, ours, strict=True):
        assert one == pytest.approx(other, abs=2e-2)


def test_of_those_that_wait_the_longest_conversation_goes_first(folder: Path) -> None:
    """On an engine with one seat; it too is opened after the shared one is closed."""
    from cai.engine.vllm_engine import open_vllm

    spec = EngineSettings(kind="vllm", model=str(folder), batch_size=1, vllm=VllmSettings(kv_cache_gib=0.1))
    engine, ended = open_vllm(spec, str(folder)), list[str]()

    async def one(name: str, turns: tuple[Turn, ...]) -> None:
        await engine.generate(turns, Sampling(0, max_tokens=24))
        ended.append(name)

    async def run() -> None:
        further = (*ask("Hello"), Turn("assistant", "Hi."), Turn("user", "Is it kind?"))
        await asyncio.gather(one("seated", ask("Go")), one("new", ask("Well")), one("further", further))
        await engine.close()

    asyncio.run(run())
    assert ended.index("further") < ended.index("new")
