"""The part of `benchmarks.judge` about speed: letters through the engine, reasoning, and a plain loop.

The three ways take turns, each round on pairs of its own, and the ratio is the median of the rounds' ratios: a machine
with other work on it slows all three.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.judge_quality import library
from cai.constitution.model import Principle
from cai.engine.protocol import Engine
from cai.judge.exam import Known
from cai.judge.modes import logprob
from cai.judge.panel import Asking, Judge, ask_pair
from cai.judge.prompts import fence_for
from cai.judge.question import Question
from cai.judge.testbed import known_pairs
from cai.records import Order, Usage

COUNTS = (1, 4, 10)
"""Principles that judge a pair."""
ROUNDS, ASKED, FEW = 3, 16, 3
"""Pairs that a round puts to the engine in mode logprob, and to the two slow ways."""
WIDE = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8,
        "num_key_value_heads": 8, "head_dim": 64}  # fmt: skip
"""A shape of 27 million parameters, where arithmetic weighs more than what Python spends on each step."""

Spent = tuple[float, float]
"""Wall and processor seconds a label."""


async def speed(engine: Engine, twin: Engine, folder: str, seed: int) -> dict[str, Any]:
    """Labels a second by the number of principles; `folder` holds the engine's model for plain `transformers`.

    `twin` has the same shape and random weights, so that a reasoning hardly ever ends before its 64 tokens.
    """
    plain = Plain(folder)
    return {str(count): await _speed(engine, twin, plain, count, seed) for count in COUNTS}


async def _speed(engine: Engine, twin: Engine, plain: Plain, count: int, seed: int) -> dict[str, Any]:
    every = library()
    judge, talker, tokens = Judge(engine.model, engine), Judge("twin", twin), dict[str, Usage]()
    rounds: list[dict[str, Spent]] = []
    for number in range(ROUNDS):
        pairs = own_pairs(every, every[:count], ASKED, seed + 100 * count + number)
        letters, tokens["logprob"] = await seconds_a_label(judge, pairs, Asking(seed=seed))
        reasons, tokens["cot-64"] = await seconds_a_label(
            talker, pairs[:FEW], Asking(mode="cot", cot_tokens=64, seed=seed)
        )
        rounds.append({"logprob": letters, "cot-64": reasons, "plain transformers": plain.timed(pairs[:FEW], seed)})
    found: dict[str, Any] = {"principles": count, "rounds": ROUNDS}
    for clock, at in (("wall", 0), ("cpu", 1)):
        found[f"labels_per_{clock}_second"] = {name: median(1 / one[name][at] for one in rounds) for name in rounds[0]}
        for name, way in (("cot", "cot-64"), ("plain", "plain transformers")):
            ratios = [one[way][at] / one["logprob"][at] for one in rounds]
            found[f"logprob_over_{name}_{clock}"] = median(ratios)
            found[f"logprob_over_{name}_{clock}_rounds"] = ratios
    found["tokens"] = {name: used.model_dump() for name, used in tokens.items()}
    return found


def own_pairs(every: Sequence[Principle], asked: Sequence[Principle], n: int, seed: int) -> list[Known]:
    """Pairs that no other round has, each under all the principles asked about."""
    return [Known(p.prompt, p.a, p.b, tuple(asked), p.a_better) for p in known_pairs(every, n, seed)]


async def seconds_a_label(judge: Judge, pairs: Sequence[Known], asking: Asking) -> tuple[Spent, Usage]:
    """Seconds a label and tokens of all pairs asked at once."""
    wall, cpu = time.perf_counter(), time.process_time()
    asked = (ask_pair([judge], p.principles, p.prompt, p.a, p.b, asking) for p in pairs)
    used = sum((usage for _, usage in await asyncio.gather(*asked)), Usage())
    labels = sum(len(pair.principles) for pair in pairs)
    return ((time.perf_counter() - wall) / labels, (time.process_time() - cpu) / labels), used


class Plain:
    """The same questions one by one with `transformers`: render, tokenise, forward, read."""

    def __init__(self, folder: str) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.network: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.letters = [self.tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in "AB"]

    def timed(self, pairs: Sequence[Known], seed: int) -> Spent:
        """Seconds a label."""
        orders: tuple[Order, ...] = ("ab", "ba")
        wall, cpu = time.perf_counter(), time.process_time()
        for pair in pairs:
            fence = fence_for(seed, pair.prompt, (pair.a, pair.b))
            for principle in pair.principles:
                for order in orders:
                    self.ask(Question(pair.prompt, pair.a, pair.b, order, principle.judge, fence, seed))
        labels = sum(len(pair.principles) for pair in pairs)
        return (time.perf_counter() - wall) / labels, (time.process_time() - cpu) / labels

    def ask(self, question: Question) -> list[float]:
        """Log-probs of the two letters."""
        import torch

        messages = [{"role": turn.role, "content": turn.content} for turn in logprob.turns(question)]
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            return torch.log_softmax(self.network(ids).logits[0, -1], -1)[self.letters].tolist()


def random_twin(model: str, folder: Path, **shape: int) -> str:
    """A folder with a model's tokenizer and, but for `shape`, its shape; random weights hardly ever end a reply."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from cai.testbed import TINY

    source = str(TINY) if model == "tiny" else model
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source, **shape)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return str(folder)
