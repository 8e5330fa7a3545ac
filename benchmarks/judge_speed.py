"""The part of `benchmarks.judge` about speed: letters through the engine, reasoning, and a plain loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.judge_quality import library
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
ASKED, FEW = 64, 8
"""Pairs put to the engine in mode logprob, and to the two slow ways."""


async def speed(engine: Engine, folder: str, seed: int) -> dict[str, Any]:
    """Labels a second by the number of principles; `folder` holds the same model for plain `transformers`."""
    return {str(count): await _speed(engine, folder, count, seed) for count in COUNTS}


async def _speed(engine: Engine, folder: str, count: int, seed: int) -> dict[str, Any]:
    every = library()
    principles = tuple(every[:count])
    pairs = [Known(p.prompt, p.a, p.b, principles, p.a_better) for p in known_pairs(every, ASKED, seed + 100 * count)]
    few, judge = pairs[:FEW], Judge(engine.model, engine)
    ways = {
        "logprob": (len(pairs), await _timed(judge, pairs, Asking(seed=seed))),
        "cot-64": (len(few), await _timed(judge, few, Asking(mode="cot", cot_tokens=64, seed=seed))),
        "plain transformers": (len(few), plain(folder, few, seed)),
    }
    found: dict[str, Any] = {"principles": count}
    for clock, at in (("wall", 0), ("cpu", 1)):
        rates = {name: asked * count / spent[at] for name, (asked, spent) in ways.items()}
        found[f"labels_per_{clock}_second"] = rates
        found[f"logprob_over_cot_{clock}"] = rates["logprob"] / rates["cot-64"]
        found[f"logprob_over_plain_{clock}"] = rates["logprob"] / rates["plain transformers"]
    found["tokens"] = {name: spent[2].model_dump() for name, (_, spent) in ways.items() if len(spent) > 2}
    return found


async def _timed(judge: Judge, pairs: Sequence[Known], asking: Asking) -> tuple[float, float, Usage]:
    """Wall seconds, CPU seconds and tokens of all pairs asked at once."""
    wall, cpu = time.perf_counter(), time.process_time()
    asked = (ask_pair([judge], p.principles, p.prompt, p.a, p.b, asking) for p in pairs)
    spent = sum((usage for _, usage in await asyncio.gather(*asked)), Usage())
    return time.perf_counter() - wall, time.process_time() - cpu, spent


def plain(folder: str, pairs: Sequence[Known], seed: int) -> tuple[float, float]:
    """Wall and CPU seconds of the same questions one by one with `transformers`: render, tokenise, forward, read."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    network: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
    letters = [tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in "AB"]
    orders: tuple[Order, ...] = ("ab", "ba")
    wall, cpu = time.perf_counter(), time.process_time()
    for pair in pairs:
        fence = fence_for(seed, pair.prompt, (pair.a, pair.b))
        for principle in pair.principles:
            for order in orders:
                question = Question(pair.prompt, pair.a, pair.b, order, principle.judge, fence, seed)
                messages = [{"role": turn.role, "content": turn.content} for turn in logprob.turns(question)]
                text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
                ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
                with torch.no_grad():
                    torch.log_softmax(network(ids).logits[0, -1], -1)[letters].tolist()
    return time.perf_counter() - wall, time.process_time() - cpu


def random_twin(model: str, folder: Path) -> str:
    """A folder with the model's shape and tokenizer and random weights, which hardly ever end a reasoning early."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from cai.testbed import TINY

    source = str(TINY) if model == "tiny" else model
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return str(folder)
