"""The check at the start: a model that comes out otherwise in the batch is refused, one that only rounds is not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from cai.engine.batching import runner
from cai.errors import InputError
from tests.engine.small_models import build


def model(kind: str, folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(build(kind, folder), dtype=torch.float32)


def louder(batched: Any) -> None:
    batched.model.norm.weight.mul_(1.01)


def seeing_everything(batched: Any) -> None:
    batched.config.sliding_window = None


@pytest.mark.parametrize(("kind", "change"), [("llama", louder), ("mistral", seeing_everything)])
def test_what_is_computed_otherwise_in_the_batch_is_refused(
    kind: str, change: Callable[[Any], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = runner.use_row_linears

    def changed(batched: Any) -> Any:
        change(batched)
        return kept(batched)

    runner.Runner(model(kind, tmp_path / "right"), most_slots=2, budget=10**8)
    monkeypatch.setattr(runner, "use_row_linears", changed)
    with pytest.raises(InputError, match="gives other results when batched"):
        runner.Runner(model(kind, tmp_path / "wrong"), most_slots=2, budget=10**8)


def test_sharp_attention_that_rounds_is_no_other_result(tmp_path: Path) -> None:
    sharp = model("llama", tmp_path)
    with torch.no_grad():
        for layer in sharp.model.layers:
            layer.self_attn.q_proj.weight.mul_(150)
    ids = torch.arange(320)[None] % sharp.config.vocab_size
    whole = sharp(input_ids=ids).logits[0]
    exact = sharp.double()(input_ids=ids).logits[0].float()
    strays = (whole - exact).pow(2).mean(-1).sqrt() / exact.std()
    assert strays.max() > 1e-3, "the model is not sharp enough to say anything"
    runner.Runner(sharp.float(), most_slots=2, budget=10**8)
