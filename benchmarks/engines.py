"""Two-round chains on one model: a plain loop, stages in batches of 32, and the engines; ratios from one run.

    python -m benchmarks.engines [--model tiny] [--prompts 200] [--vllm] [--out benchmarks/results/engines.json]

Every contestant asks the same five questions per prompt (draft, twice critique and revision) with the same token ids
for the same turns, at temperature 1. The loop and the stages use `model.generate` of transformers.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from benchmarks.conditions import conditions, write_results
from cai.config.engine import EngineSettings
from cai.constitution import load_constitution
from cai.constitution.model import Principle
from cai.critique.prompts import critique_turns, draft_turns, revise_turns
from cai.engine import Completion, Engine, Sampling, Turn
from cai.records import Prompt
from cai.seeds import seed_for
from cai.testbed.world import prompts

REPLY_TOKENS, CRITIQUE_TOKENS, ROUNDS, BATCH = 64, 48, 2, 32


@dataclass(frozen=True)
class Result:
    """What one contestant did."""

    name: str
    seconds: float
    cpu_seconds_per_chain: float
    chains_per_second: float
    reply_tokens: int
    tokens_per_second: float
    cached_share: float | None


@dataclass
class Chain:
    """One prompt's state, asked for and given one completion at a time."""

    prompt: Prompt
    principles: Sequence[Principle]

    def steps(self) -> Iterator[tuple[tuple[Turn, ...], Sampling]]:
        """Yields each question; the answer comes back by `send`."""
        reply = yield draft_turns(self.prompt), self._sampling("draft", REPLY_TOKENS)
        for round in range(ROUNDS):
            principle = self.principles[round % len(self.principles)]
            asked = critique_turns(self.prompt, _turn(reply), principle)
            critique = yield asked, self._sampling(f"critique{round}", CRITIQUE_TOKENS)
            reply = yield (
                revise_turns(asked, _turn(critique), principle),
                self._sampling(f"revise{round}", REPLY_TOKENS),
            )

    def _sampling(self, stage: str, most: int) -> Sampling:
        return Sampling(seed=seed_for(0, stage, self.prompt.id), max_tokens=most)


def _turn(reply: Any) -> Turn:
    return Turn("assistant", reply.text, reply.token_ids)


@dataclass(frozen=True)
class Plain:
    """A reply of `model.generate`."""

    text: str
    token_ids: tuple[int, ...]


class Generate:
    """`model.generate` over a list of questions at a time, left-padded, sampled."""

    def __init__(self, model: Any, renderer: Any, pad: int) -> None:
        self.model, self.renderer, self.pad, self.tokens = model, renderer, pad, 0

    def __call__(self, questions: Sequence[tuple[tuple[Turn, ...], Sampling]]) -> list[Plain]:
        """One batch of questions with the same `max_tokens`."""
        import torch

        ids = [self.renderer.prompt_ids(turns) for turns, _ in questions]
        width = max(map(len, ids))
        batch = torch.tensor([[self.pad] * (width - len(row)) + list(row) for row in ids])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
        out = self.model.generate(
            input_ids=batch,
            attention_mask=mask,
            do_sample=True,
            top_k=0,
            max_new_tokens=questions[0][1].max_tokens,
            pad_token_id=self.pad,
        )
        return [self._reply(row) for row in out[:, width:].tolist()]

    def _reply(self, row: list[int]) -> Plain:
        end = row.index(self.pad) if self.pad in row else len(row)
        self.tokens += min(end + 1, len(row))
        return Plain(self.renderer.decode(tuple(row[:end])), tuple(row[:end]))


def plain_loop(chains: Sequence[Chain], generate: Generate) -> None:
    """One chain after the other, one question at a time."""
    for chain in chains:
        steps = cast(Any, chain.steps())
        question = next(steps)
        try:
            while True:
                question = steps.send(generate([question])[0])
        except StopIteration:
            continue


def stages(chains: Sequence[Chain], generate: Generate) -> None:
    """All drafts, then all critiques, and so on, each in batches of 32 sorted by length."""
    running = [cast(Any, chain.steps()) for chain in chains]
    questions = [next(steps) for steps in running]
    for stage in range(1 + 2 * ROUNDS):
        order = sorted(range(len(running)), key=lambda at: sum(len(turn.content) for turn in questions[at][0]))
        for first in range(0, len(order), BATCH):
            part = order[first : first + BATCH]
            replies = generate([questions[at] for at in part])
            if stage < 2 * ROUNDS:
                for at, reply in zip(part, replies, strict=True):
                    questions[at] = running[at].send(reply)


async def with_engine(chains: Sequence[Chain], engine: Engine, concurrency: int) -> tuple[int, int, int]:
    """All chains at once, at most `concurrency` in flight; produced, prompt and cached tokens."""
    gate = asyncio.Semaphore(concurrency)

    async def run(chain: Chain) -> list[Completion]:
        replies = list[Completion]()
        async with gate:
            steps = cast(Any, chain.steps())
            question = next(steps)
            try:
                while True:
                    replies.append(await engine.generate(*question))
                    question = steps.send(replies[-1])
            except StopIteration:
                return replies

    usages = [reply.usage for replies in await asyncio.gather(*map(run, chains)) for reply in replies]
    return (
        sum(usage.completion_tokens for usage in usages),
        sum(usage.prompt_tokens for usage in usages),
        sum(usage.cached_tokens for usage in usages),
    )


def timed(name: str, count: int, work: Callable[[], tuple[int, int, int]]) -> Result:
    """Run and print one contestant."""
    begun, cpu = time.perf_counter(), time.process_time()
    produced, asked, cached = work()
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    share = cached / asked if asked else None
    result = Result(name, seconds, cpu / count, count / seconds, produced, produced / seconds, share)
    shown = "" if share is None else f"   {share:.0%} of prompt tokens reused"
    print(
        f"{name:30} {seconds:7.1f} s {result.chains_per_second:7.2f} chains/s {result.tokens_per_second:7.0f} tok/s "
        f"{1000 * result.cpu_seconds_per_chain:6.0f} ms of CPU a chain{shown}",
        flush=True,
    )
    return result


def transformers_results(args: argparse.Namespace, chains: list[Chain]) -> list[Result]:
    """The plain loop and the stages on the untouched model, then the engine on a copy."""
    import torch
    from transformers import AutoTokenizer

    from cai.cli.engines import open_engine
    from cai.engine.files import find_model
    from cai.engine.render import ChatRenderer
    from cai.engine.transformers import load_model

    folder = model_folder(args.model)
    files = find_model(folder)
    model = load_model(files, None, torch.device("cpu"))
    model.set_attn_implementation("sdpa")
    tokenizer = cast(Any, AutoTokenizer.from_pretrained(folder))
    generate = Generate(model, ChatRenderer(tokenizer, folder), tokenizer.eos_token_id)

    def run(contestant: Callable[[Sequence[Chain], Generate], None], some: Sequence[Chain]) -> tuple[int, int, int]:
        generate.tokens = 0
        with torch.inference_mode():
            contestant(some, generate)
        return generate.tokens, 0, 0

    part = chains[: args.loop_prompts]
    results = [
        timed(f"generate, loop ({len(part)} prompts)", len(part), lambda: run(plain_loop, part)),
        timed("generate, stages of 32", len(chains), lambda: run(stages, chains)),
    ]
    engine = open_engine(EngineSettings(model=folder))
    results.append(timed("engine: transformers", len(chains), lambda: asyncio.run(with_engine(chains, engine, 64))))
    asyncio.run(engine.close())
    return results


def vllm_result(args: argparse.Namespace, chains: list[Chain]) -> Result:
    """The vLLM engine, after a first chain that warms it up."""
    from cai.cli.engines import open_engine

    engine = open_engine(EngineSettings(kind="vllm", model=model_folder(args.model)))
    asyncio.run(with_engine(chains[:1], engine, 1))
    result = timed("engine: vllm", len(chains), lambda: asyncio.run(with_engine(chains, engine, 512)))
    asyncio.run(engine.close())
    return result


@dataclass(frozen=True)
class Ratio:
    """Throughput beside another contestant's, by the clock and by CPU time, which other programs disturb less."""

    of: str
    to: str
    clock: float
    cpu: float
    goal: float


def ratio(own: Result, other: Result, goal: float) -> Ratio:
    clock = own.chains_per_second / other.chains_per_second
    cpu = other.cpu_seconds_per_chain / own.cpu_seconds_per_chain
    return Ratio(own.name, other.name, clock, cpu, goal)


def print_ratios(ratios: Sequence[Ratio]) -> None:
    for one in ratios:
        met = "met" if one.clock >= one.goal else "NOT met"
        by = f"{one.clock:.2f}x by the clock, {one.cpu:.2f}x by CPU time"
        print(f"{one.of} beside {one.to}: {by}   goal >= {one.goal:g}x {met}")


def model_folder(name: str) -> str:
    """The tiny model's folder for "tiny"."""
    from cai.testbed import TINY

    return str(TINY) if name == "tiny" else name


def main() -> None:
    """Measure, print the ratios, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--loop-prompts", type=int, default=32, help="the plain loop runs this many of them")
    parser.add_argument("--vllm", action="store_true", help="run the vLLM engine as well")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "engines.json")
    args = parser.parse_args()
    began = conditions()
    principles = load_constitution("default").principles
    chains = [
        Chain(prompt, [principles[(at + step) % len(principles)] for step in range(ROUNDS)])
        for at, prompt in enumerate(prompts("test", args.prompts, 0))
    ]
    results = transformers_results(args, chains)
    ratios = [ratio(results[2], results[0], 3.0), ratio(results[2], results[1], 1.2)]
    if args.vllm:
        results.append(vllm_result(args, chains))
        ratios.append(ratio(results[3], results[2], 3.0))
    print_ratios(ratios)
    tables = {"results": [asdict(one) for one in results], "ratios": [asdict(one) for one in ratios]}
    write_results(args.out, began, {"model": args.model, **tables})


if __name__ == "__main__":
    main()
