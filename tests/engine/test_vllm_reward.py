"""Reward models in vLLM's pooling runner give what they give in transformers."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForSequenceClassification, LlamaConfig, Qwen2Config, Qwen3Config

from cai.errors import InputError
from cai.records import Message, Prompt
from cai.train.rewarding import MEAN, STD, RewardModel
from tests.cli.process import cai_here
from tests.engine.small_models import build
from tests.train.conftest import tiny_tokenizer

pytestmark = pytest.mark.vllm
pytest.importorskip("vllm", reason="the vLLM step of CI installs it")

PROMPTS = [Prompt.of((Message(role="user", content=text),)) for text in ("how do i bake", "take the red lamp " * 9)]
REPLIES = [("ask first", "take bread sure here is a plan"), ("yes please", "no", "stop thanks")]


SHAPE = {
    "vocab_size": 64,
    "hidden_size": 128,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.15,
    "num_labels": 1,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
}
KINDS = {"llama": LlamaConfig(**SHAPE), "qwen2": Qwen2Config(**SHAPE), "qwen3": Qwen3Config(**SHAPE, head_dim=32)}


def reward_model(kind: str, folder: Path) -> Path:
    """A random one-label classifier with stored mean and deviation, as `cai train reward` leaves it."""
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_config(KINDS[kind], dtype=torch.float32)
    setattr(model.config, MEAN, 0.5)
    setattr(model.config, STD, 2.0)
    place = folder / "run" / "reward" / "model"
    model.save_pretrained(place)
    tiny_tokenizer().save_pretrained(place)
    return folder / "run"


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_rewards_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    folder = reward_model(kind, tmp_path)
    ours = RewardModel.load(folder)(PROMPTS, REPLIES)
    theirs = RewardModel.load(folder, engine="vllm")(PROMPTS, REPLIES)
    assert ours.mean_S.std() > 0.05
    torch.testing.assert_close(theirs.mean_S, ours.mean_S, atol=1e-4, rtol=1e-4)


def test_best_of_n_pays_the_same_with_either_engine(tmp_path: Path) -> None:
    """Through the command; which of two equally good replies is kept may differ in the last bit."""
    reward_model("llama", tmp_path)
    words = ["sample", "--reward", "run", "--in", ".", "-m", "tiny", "-n", "3", "--limit", "6", "--max-tokens", "64"]
    told = []
    for engine in ("transformers", "vllm"):
        ended = cai_here(*words, "-r", engine, "--reward-engine", engine, cwd=tmp_path)
        assert ended.code == 0, ended.err
        told.append(pq.read_table(tmp_path / engine / "sft.parquet").column("reward").to_pylist())
    assert len(told[0]) > 2
    assert told[1] == pytest.approx(told[0], abs=1e-4)


def test_a_model_that_is_no_classifier_is_refused(tmp_path: Path) -> None:
    from cai.engine.vllm_reward import VllmReward

    with pytest.raises(InputError, match="is no sequence classifier; give the folder of a `cai train reward`"):
        VllmReward(build("llama", tmp_path / "model"))
