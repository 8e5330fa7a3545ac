"""The tiny model's tokenizer: byte-level BPE learned on the world's own text, with a chat template."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCAB = 2560
CONTEXT = 2048
PAD, END, USER, ASSISTANT, SYSTEM = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}<|user|>{{ message['content'] }}<|end|>"
    "{% elif message['role'] == 'system' %}<|system|>{{ message['content'] }}<|end|>"
    "{% elif message['role'] == 'assistant' %}<|assistant|>"
    "{% generation %}{{ message['content'] }}<|end|>{% endgeneration %}"
    "{% else %}{{ raise_exception('the roles are system, user and assistant, not ' + message['role']) }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""A turn is its role token, its content and the end token: nothing between turns."""


def learn(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Learn the merges; digits stay single, so that any number is spelt the same way."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=[PAD, END, USER, ASSISTANT, SYSTEM],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT, SYSTEM],
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def marks(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Ids of the role tokens and of the end token, by the names that `trees.plant` uses."""
    names = {"user": USER, "assistant": ASSISTANT, "system": SYSTEM, "end": END}
    return {name: tokenizer.get_vocab()[token] for name, token in names.items()}


def encoder(tokenizer: PreTrainedTokenizerFast) -> Callable[[str], tuple[list[int], list[int]]]:
    """Text to token ids and, for each token, the character where it ends; remembers what it has seen."""
    backend = tokenizer.backend_tokenizer

    @lru_cache(maxsize=200_000)
    def encode(text: str) -> tuple[list[int], list[int]]:
        found = backend.encode(text, add_special_tokens=False)
        return found.ids, [end for _, end in found.offsets]

    return encode
