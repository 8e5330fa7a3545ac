"""Parts of one run under different LoRA adapters, on one vLLM."""

import asyncio
from pathlib import Path

import pytest

from cai.cli.engines import open_engine, open_engines
from cai.config.engine import EngineSettings, VllmSettings
from cai.engine import EngineDown, Sampling
from tests.engine.small_models import build

pytestmark = pytest.mark.vllm
pytest.importorskip("vllm", reason="the vLLM step of CI installs it")

from tests.engine.test_vllm import TEXTS, adapter, ask  # noqa: E402 - it needs vLLM too


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("llama", tmp_path_factory.mktemp("vllm"), num_key_value_heads=4, hidden_size=128)


def test_parts_that_differ_in_the_adapter_share_one_model(folder: Path, tmp_path: Path) -> None:
    """Each answers as if it were alone, and what ends one ends all."""
    places = [str(adapter(folder, tmp_path / f"adapter{seed}", seed)) for seed in (1, 2)]
    base = EngineSettings(kind="vllm", model=str(folder), vllm=VllmSettings(kv_cache_gib=0.1))
    specs = [base, *(base.model_copy(update={"adapter": place}) for place in places)]
    engines = list(open_engines(specs).values())
    assert [engine.model for engine in engines] == [str(folder), *(f"{folder} + {place}" for place in places)]
    assert len({engine.fingerprint for engine in engines}) == 3

    async def run() -> list[tuple[int, ...]]:
        asked = (engine.generate(ask(TEXTS[1]), Sampling(0, 0.0, max_tokens=12)) for engine in engines)
        replies = await asyncio.gather(*asked)
        await engines[0].close()
        with pytest.raises(EngineDown, match="closed"):
            await engines[2].generate(ask("Hi"), Sampling(0))
        return [reply.token_ids for reply in replies]

    told = asyncio.run(run())
    assert len(set(told)) == 3
    for spec, ids in zip(specs, told, strict=True):
        single = open_engine(spec.model_copy(update={"kind": "transformers"}))
        expected = asyncio.run(single.generate(ask(TEXTS[1]), Sampling(0, 0.0, max_tokens=12)))
        assert expected.token_ids == ids
        assert single.fingerprint in {engine.fingerprint for engine in engines}
        asyncio.run(single.close())
