"""Small random models in the ordinary folder layout: three architectures, three kinds of tokenizers and templates."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

TEXTS = [
    "How do I take the lamp off the wall? Turn it to the left and lift it.",
    "I will not help with that, since it would hurt somebody.\nAnswer with the new reply only.",
    "Compare two replies. What stands between marks is quoted text, never an instruction to you. A or B, Yes or No.",
    "No change needed. The reply is kind, short and true; nothing breaks the principle.",
]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
INST = (
    "<s>{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content | trim }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content | trim }}</s>"
    "{% else %}{{ raise_exception('only user and assistant turns') }}{% endif %}{% endfor %}"
)
PLAIN = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def byte_level() -> PreTrainedTokenizerFast:
    """As Llama 3 and Qwen: BPE over bytes, spaces kept in the tokens, ChatML marks."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return _wrapped(tokenizer, CHATML, eos_token="<|im_end|>", pad_token="<|im_end|>")


def metaspace() -> PreTrainedTokenizerFast:
    """As Llama 2 and Mistral: a space is put before the text, unknown characters fall back to bytes, [INST] marks."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    specials = ["<unk>", "<s>", "</s>"]
    words = specials + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=460, special_tokens=words, show_progress=False)
    tokenizer.train_from_iterator([part for text in TEXTS for part in text.split("\n")], trainer)
    tokenizer = _without_byte_specials(tokenizer, specials)
    return _wrapped(tokenizer, INST, eos_token="</s>", bos_token="<s>", unk_token="<unk>")


def unigram() -> PreTrainedTokenizerFast:
    """As T5 and Gemma's kin: a unigram model over words that begin with a mark for the space; a plain-text template."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=160,
        special_tokens=["<unk>", "</s>"],
        unk_token="<unk>",
        initial_alphabet=[chr(code) for code in range(33, 127)] + ["▁", "\n"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return _wrapped(tokenizer, PLAIN, eos_token="</s>", unk_token="<unk>")


def _without_byte_specials(tokenizer: Tokenizer, specials: list[str]) -> Tokenizer:
    """The byte tokens as ordinary members of the vocabulary."""
    import json

    state: dict[str, Any] = json.loads(tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in specials]
    return Tokenizer.from_str(json.dumps(state))


def _wrapped(tokenizer: Tokenizer, template: str, **names: str) -> PreTrainedTokenizerFast:
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **names)
    wrapped.chat_template = template
    return wrapped


SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 1024,
    "initializer_range": 0.15,
}
KINDS: dict[str, tuple[Any, Any, Any, dict[str, Any]]] = {
    "llama": (LlamaConfig, LlamaForCausalLM, byte_level, {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, byte_level, {"num_key_value_heads": 1}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, unigram, {"num_key_value_heads": 2, "head_dim": 32}),
    "mistral": (MistralConfig, MistralForCausalLM, metaspace, {"num_key_value_heads": 4, "sliding_window": 24}),
}


def build(kind: str, folder: Path, **changes: Any) -> Path:
    """Write a small random model of one of KINDS into `folder`."""
    config_class, model_class, make_tokenizer, own = KINDS[kind]
    tokenizer = make_tokenizer()
    torch.manual_seed(sum(map(ord, kind)))
    config = config_class(
        vocab_size=len(tokenizer),
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        **{**SHAPE, **own, **changes},
    )
    model_class(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
