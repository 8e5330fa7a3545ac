"""Random Llamas for measuring: a tokenizer learnt from the shipped principles, weights from a seed, no download."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    inner: int


SHAPES = {
    "3M": Shape(192, 5, 6, 6, 512),
    "100M": Shape(768, 15, 12, 4, 2048),
    "0.5B": Shape(896, 24, 14, 2, 4864),
    "8B": Shape(4096, 32, 32, 8, 14336),
}
"""The last two are those of Qwen2.5 0.5B and Llama 3.1 8B, but for the vocabulary, which is small in all: for a GPU."""
IN_BF16 = ("0.5B", "8B")


def random_model(name: str, folder: Path, context: int = 8192) -> Path:
    """The folder of the model of that size; made if it is not there. Its replies are noise that hardly ever ends."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    place = folder / f"random-{name}"
    if (place / "model.safetensors").exists():
        return place
    tokenizer, shape = _tokenizer(), SHAPES[name]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        intermediate_size=shape.inner,
        max_position_embeddings=context,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    (model.bfloat16() if name in IN_BF16 else model).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    files = sorted([*(ROOT / "principles").glob("*.yaml"), *(ROOT / "constitution").glob("*.yaml")])
    tokenizer.train_from_iterator((file.read_text(encoding="utf-8") for file in files), trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>")
    wrapped.chat_template = CHATML
    return wrapped
