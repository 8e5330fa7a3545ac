"""What `cai train` leaves loads in vLLM and means the same there: a policy, full and with a merged adapter."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cai.config.engine import EngineSettings, VllmSettings
from cai.engine import Sampling, Turn
from cai.testbed import TINY
from cai.train.run import train
from tests.train.test_training import QUIET, job_of

pytestmark = pytest.mark.vllm
pytest.importorskip("vllm", reason="the vLLM step of CI installs it")

ASKED = (Turn("user", "How do I open the jar?"),)
GREEDY = Sampling(0, 0.0, max_tokens=24)


@pytest.mark.parametrize("rank", [0, 4])
def test_a_trained_policy_writes_the_same_in_both_engines(tmp_path: Path, rank: int) -> None:
    from cai.engine.transformers import open_transformers
    from cai.engine.vllm_engine import open_vllm

    job = job_of(
        tmp_path / "run", TINY, "dpo", rows=16, max_steps=2, learning_rate=1e-3, lora_rank=rank, eval_share=0.0
    )
    folder = str(train(job, QUIET))
    embedded = open_transformers(EngineSettings(model=folder), folder, print)
    spec = EngineSettings(kind="vllm", model=folder, context_length=256, vllm=VllmSettings(kv_cache_gib=0.1))
    served = open_vllm(spec, folder)

    async def both() -> tuple[str, str]:
        try:
            return (await embedded.generate(ASKED, GREEDY)).text, (await served.generate(ASKED, GREEDY)).text
        finally:
            await embedded.close()
            await served.close()

    here, there = asyncio.run(both())
    assert here == there
    assert here
