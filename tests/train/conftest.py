"""Tiny random models of the architectures people train, and a small tokenizer with a chat template."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

torch.set_num_threads(1)

WORDS = ["how", "do", "i", "bake", "bread", "take", "the", "lamp", "please", "ask", "first", "no", "yes", "sorry"]
WORDS += ["sure", "here", "is", "a", "plan", "thanks", "stop", "go", "red", "blue"]
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|> {{ m['content'] }} <|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)
SHAPE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
CONFIGS = {
    "llama": lambda: LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "qwen": lambda: Qwen2Config(**SHAPE),
    "mistral": lambda: MistralConfig(**SHAPE, sliding_window=None, head_dim=8),
    "gemma": lambda: GemmaConfig(**SHAPE, head_dim=8),
}


def tiny_model(kind: str = "llama", seed: int = 0, attention: str = "sdpa") -> torch.nn.Module:
    """A random float32 model with weights large enough that its log-probs are far from uniform."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIGS[kind](), attn_implementation=attention, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(5.0)
    return model.eval()


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    special = ["<pad>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<unk>"]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        eos_token="<|end|>",
        unk_token="<unk>",
        additional_special_tokens=["<|user|>", "<|assistant|>", "<|system|>"],
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    """A saved tiny Llama with its tokenizer, as a user's model folder."""
    folder = tmp_path / "model"
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def write_rows(file: Path, rows: list[dict[str, object]]) -> Path:
    """A JSONL file of rows."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return file


def words(rng: random.Random, low: int, high: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(low, high)))


def pair_rows(count: int, seed: int = 0) -> list[dict[str, object]]:
    """Preferences that a model can learn: chosen replies end in `sure`, rejected ones in `no`."""
    rng = random.Random(seed)
    return [
        {
            "prompt": [{"role": "user", "content": f"{words(rng, 2, 12)} {WORDS[i % 24]} {WORDS[i // 24]}"}],
            "chosen": [{"role": "assistant", "content": f"{words(rng, 2, 8)} sure"}],
            "rejected": [{"role": "assistant", "content": f"{words(rng, 2, 8)} no"}],
            "p_chosen": 0.9,
            "constitution": "sha-a",
        }
        for i in range(count)
    ]


def sft_rows(count: int, seed: int = 0) -> list[dict[str, object]]:
    """The same prompts with their chosen replies as conversations."""
    rows = pair_rows(count, seed)
    return [{"messages": [*r["prompt"], *r["chosen"]], "constitution": "sha-a"} for r in rows]  # type: ignore[misc]
