"""Run by test_vllm: replaces the weights of a vLLM engine and compares with the model they came from."""

import asyncio
import sys
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from cai.config.engine import EngineSettings, VllmSettings
from cai.engine import Sampling, Turn
from cai.engine.vllm_engine import open_vllm

TURNS = (Turn("user", "Is it kind, short and true?\nSay so, or say why. " * 8),)


async def check(folder: str) -> None:
    """Greedy replies before and after, the second compared with `transformers`."""
    spec = EngineSettings(kind="vllm", model=folder, vllm=VllmSettings(kv_cache_gib=0.1))
    engine = open_vllm(spec, folder)
    before = await engine.generate(TURNS, Sampling(0, 0.0, max_tokens=12))
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1 + 0.5 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    await engine.update_weights(model.state_dict().items())
    after = await engine.generate(TURNS, Sampling(0, 0.0, max_tokens=12))
    ids = engine.encode(TURNS)
    batch = torch.tensor([ids])
    out = model.generate(
        batch, attention_mask=torch.ones_like(batch), do_sample=False, max_new_tokens=12, pad_token_id=0
    )
    assert after.token_ids != before.token_ids
    assert list(after.token_ids) == out[0, len(ids) :].tolist()[: len(after.token_ids)]
    assert after.usage.cached_tokens == 0
    await engine.close()
    print("new weights answer, no stale prefix")


if __name__ == "__main__":
    asyncio.run(check(sys.argv[1]))
