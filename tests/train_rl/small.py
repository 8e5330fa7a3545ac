"""A policy small enough to learn in seconds, and an engine that draws from it one token at a time."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from transformers import LlamaConfig, LlamaForCausalLM

from cai.config.rl import RLSettings
from cai.engine.protocol import Completion, Sampling, Turn
from cai.records import Message, Prompt, Usage
from cai.train.rl.methods import method_of
from cai.train.rl.policy import Policy, Reference
from cai.train.rl.update import Learner

END, PAD, START = 0, 1, 2
LETTERS = {3: "a", 4: "b", 5: "c", 6: "d", 7: "e"}


def small_model(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=8,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        pad_token_id=PAD,
        bos_token_id=START,
        eos_token_id=END,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config).eval()


def prompt(text: str = "a") -> Prompt:
    return Prompt.of((Message(role="user", content=text),))


class SmallEngine:
    """A `TrainableEngine` that draws letters from its own copy of the small model."""

    model = "small"
    fingerprint = "small"
    context_length = 64

    def __init__(self) -> None:
        self._net = small_model(99)
        self.synced = 0

    def encode(self, turns: tuple[Turn, ...], prefill: str = "") -> tuple[int, ...]:
        ids = {letter: token for token, letter in LETTERS.items()}
        return (START, *(ids[letter] for turn in turns for letter in turn.content))

    def count_tokens(self, turns: tuple[Turn, ...], prefill: str = "") -> int:
        return len(self.encode(turns))

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling, *, prefill: str = "") -> Completion:
        with torch.no_grad():
            return self._draw(turns, sampling)

    def _draw(self, turns: tuple[Turn, ...], sampling: Sampling) -> Completion:
        generator = torch.Generator().manual_seed(sampling.seed)
        ids, drawn, logprobs = list(self.encode(turns)), [], []
        end = None
        while len(drawn) < sampling.max_tokens and end is None:
            logits_V = self._net(torch.tensor([ids])).logits[0, -1].float() / sampling.temperature
            logp_V = torch.log_softmax(logits_V, dim=-1)
            token = int(torch.multinomial(logp_V.exp(), 1, generator=generator))
            logprobs.append(float(logp_V[token]))
            ids.append(token)
            if token == END:
                end = END
            else:
                drawn.append(token)
        text = "".join(LETTERS.get(token, "?") for token in drawn)
        return Completion(text, "length" if end is None else "stop", Usage(calls=1), tuple(drawn), end, tuple(logprobs))

    async def option_logprobs(self, turns, options, *, prefill=""):
        raise AssertionError("nobody judges with this engine")

    async def update_weights(self, weights) -> None:
        self._net.load_state_dict(dict(weights))
        self.synced += 1

    async def close(self) -> None:
        return None


def learner_for(name: str, settings: RLSettings, *, seed: int = 0, model=None) -> Learner:
    accelerator = Accelerator(cpu=True)
    method = method_of(name, settings)
    policy = Policy(model or small_model(seed), critic=method.critic)
    reference = Reference(policy)
    trained = [p for p in policy.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.update.learning_rate, weight_decay=0.0)
    return Learner(accelerator, policy, reference, optimizer, method, PAD, "sdpa")


class LetterReward:
    """Pays a reply for its first letter; a letter that is not in the table is unread."""

    def __init__(self, table: dict[str, float | None], name: str = "letters") -> None:
        self.table, self.name = table, name

    async def score(self, samples):
        return [self.table.get(sample.text[:1], 0.0) for sample in samples]


class LetterPreference:
    """Prefers replies in the order of the table."""

    name = "letters"

    def __init__(self, table: dict[str, float]) -> None:
        self.table = table

    async def wins(self, samples):
        merit = [self.table.get(sample.text[:1], 0.0) for sample in samples]
        return [[0.5 if a == b else 0.95 if a > b else 0.05 for b in merit] for a in merit]

    async def against(self, samples, texts):
        return [
            self.table.get(s.text[:1], 0.0) - self.table.get(t[:1], 0.0) for s, t in zip(samples, texts, strict=True)
        ]
