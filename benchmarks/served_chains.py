"""One round over HTTP: a `gather` of dialogues as in huggingface/llm-swarm, and ours, against the same `vllm serve`.

    OMP_NUM_THREADS=1 python -m benchmarks.served_chains [--dialogues 600] [--model 3M] [--tokens 48] [--cache 2]
        [--dtype bfloat16]

`gather` is the pattern of llm-swarm's examples/constitutional-ai/generate_dataset.py (commit c3249dbf), written anew:
one coroutine a dialogue; draft, critique and revision as further turns of one chat that begins with 24 few-shot
messages; the whole chat rendered to text and sent for each turn, at most 500 requests at a time; each reply tokenised
once more to count it. Ours is the stage of `cai critique` with the same four examples (24 messages), one round, journal
on disk: once through the `openai` engine, which tells the server what goes first, once with vLLM in this process. All
draw the same number of tokens a reply from the same random model, with a KV cache of --cache GiB. With --url a server
that runs already is asked; its processor time is then not counted. The gather's draft has the few-shots before it, ours
has not: see docs/engines.md.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from benchmarks.conditions import conditions, tree_seconds, write_part
from benchmarks.vllm_chains import WORK, constitution, shares
from benchmarks.vllm_models import random_model
from cai.config.engine import EngineSettings, OpenAISettings, VllmSettings
from cai.constitution import Constitution, load_constitution
from cai.critique.loop import Parts, Plan
from cai.critique.prompts import ask_critique, ask_revise, example_turns
from cai.critique.stage import STAGE, criticise, identity
from cai.engine.protocol import Engine
from cai.store import open_run

EXAMPLES, CONTEXT = 4, 8192
AT_ONCE = 500
STOPS = ["User:", "###", "<|endoftext|>"]


@dataclass(frozen=True)
class Load:
    """What every contestant does, and with what."""

    folder: Path
    whole: Constitution
    dialogues: int
    tokens: int
    """Drawn for a reply."""
    cache_gib: float
    in_flight: int
    """Chains of ours at a time."""
    dtype: Literal["float32", "bfloat16"]
    """What the server and vLLM in process compute in."""
    priority: bool
    """Whether ours tells the server what goes first."""


@dataclass(frozen=True)
class Result:
    """What one contestant did."""

    name: str
    seconds: float
    cpu_seconds: float
    """Of this process and the server."""
    dialogues_per_second: float
    prompt_tokens: int
    cached_tokens: int
    drawn_tokens: int


async def gather(url: str, load: Load) -> tuple[int, int, int]:
    """All dialogues at once; prompt, cached and drawn tokens."""
    from openai import AsyncOpenAI
    from transformers import AutoTokenizer

    tokenizer = cast(Any, AutoTokenizer.from_pretrained(load.folder))
    client, gate = AsyncOpenAI(api_key="none", base_url=url), asyncio.Semaphore(AT_ONCE)
    shots = [{"role": turn.role, "content": turn.content} for turn in example_turns(load.whole.examples)]
    principles = [p for p in load.whole.principles if p.critique and p.revise]

    async def dialogue(number: int, question: str) -> tuple[int, int, int]:
        chat, principle, sums = list(shots), principles[number % len(principles)], [0, 0, 0]
        for asked in (question, ask_critique(principle), ask_revise(principle)):
            async with gate:
                chat.append({"role": "user", "content": asked})
                text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
                answer = await client.completions.create(
                    model=str(load.folder), prompt=text, max_tokens=load.tokens, temperature=1.0, stop=STOPS
                )
                chat.append({"role": "assistant", "content": answer.choices[0].text})
                tokenizer.encode(answer.choices[0].text)
            assert answer.usage is not None
            details = answer.usage.prompt_tokens_details
            sums[0] += answer.usage.prompt_tokens
            sums[1] += (details.cached_tokens or 0) if details else 0
            sums[2] += answer.usage.completion_tokens
        return sums[0], sums[1], sums[2]

    asked = [prompt.messages[0].content for prompt in shares(load.dialogues)]
    found = await asyncio.gather(*(dialogue(number, question) for number, question in enumerate(asked)))
    await client.close()
    prompt, cached, drawn = (sum(column) for column in zip(*found, strict=True))
    return prompt, cached, drawn


async def stage(engine: Engine, load: Load) -> tuple[int, int, int]:
    """The stage of `cai critique`; prompt, cached and drawn tokens."""
    parts, plan = Parts(engine, engine, engine), Plan(load.whole, 0, 1, False, 1.0, 1.0, load.tokens)
    count = load.dialogues
    with (
        tempfile.TemporaryDirectory(dir=WORK) as folder,
        open_run(Path(folder), "run", stage=STAGE, identity=identity(parts, plan)) as run,
    ):
        counts = await criticise(run, shares(count), parts, plan, concurrency=load.in_flight, total=count)
    assert counts.ok == count, counts
    return counts.usage.prompt_tokens, counts.usage.cached_tokens, counts.usage.completion_tokens


def timed(name: str, count: int, work: Any) -> Result:
    """Run one contestant and print its line."""
    began, cpu = time.perf_counter(), tree_seconds()
    prompt, cached, drawn = asyncio.run(work)
    seconds, cpu = time.perf_counter() - began, tree_seconds() - cpu
    print(
        f"{name:34} {seconds:7.1f} s {cpu:7.1f} s CPU {count / seconds:6.2f} dialogues/s {drawn:6} tokens drawn, "
        f"{prompt:8,} of prompts, {cached / prompt:4.0%} of them cached",
        flush=True,
    )
    return Result(name, seconds, cpu, count / seconds, prompt, cached, drawn)


@contextmanager
def server(load: Load) -> Iterator[str]:
    """`vllm serve` on a free port, until it answers; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = f"--port {port} --dtype {load.dtype} --block-size 32 --max-model-len {CONTEXT} --enforce-eager"
    flags += " --enable-prompt-tokens-details --disable-log-stats --scheduling-policy priority"
    # A seeded request in chunks ends the CPU build (docs/engines.md).
    flags += f" --no-enable-chunked-prefill --max-num-batched-tokens {CONTEXT}"
    flags += f" --kv-cache-memory-bytes {int(load.cache_gib * 2**30)}"
    quiet = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "TORCH_COMPILE_DISABLE": "1"}
    # Left to itself the CPU build takes a thread for every core, whatever OMP_NUM_THREADS says, and, other than on one
    # GPU, a process for its worker beside the engine's.
    one = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **one, **quiet}
    command = [str(Path(sys.executable).parent / "vllm"), "serve", str(load.folder), *flags.split()]
    with (WORK / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _until_it_answers(process, port)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)


def _until_it_answers(process: subprocess.Popen[bytes], port: int, most: float = 600.0) -> None:
    import httpx

    end = time.monotonic() + most
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"vllm serve ended with {process.returncode}; see {WORK / 'server.log'}")
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(1)
    raise RuntimeError(f"vllm serve did not answer within {most:g} s; see {WORK / 'server.log'}")


def over_http(url: str, load: Load) -> list[Result]:
    """The gather, ours, and the gather again, on a warm server: whoever goes first pays for the few-shots."""
    from cai.engine.openai import open_openai

    asyncio.run(gather(url, replace(load, dialogues=4)))
    settings = OpenAISettings(
        base_url=url, api="completions", template=str(load.folder), timeout=3600, priority=load.priority
    )
    spec = EngineSettings(kind="openai", model=str(load.folder), openai=settings, context_length=CONTEXT)

    async def ours() -> tuple[int, int, int]:
        engine = open_openai(spec, print)
        try:
            return await stage(engine, load)
        finally:
            await engine.close()

    return [
        timed("gather over HTTP", load.dialogues, gather(url, load)),
        timed("cai critique over HTTP", load.dialogues, ours()),
        timed("gather over HTTP, again", load.dialogues, gather(url, load)),
    ]


def in_process(load: Load) -> Result:
    from cai.engine.vllm_engine import open_vllm

    vllm = VllmSettings(kv_cache_gib=load.cache_gib)
    spec = EngineSettings(kind="vllm", model=str(load.folder), context_length=CONTEXT, dtype=load.dtype, vllm=vllm)
    engine = open_vllm(spec, str(load.folder))
    asyncio.run(stage(engine, replace(load, dialogues=4)))
    result = timed("cai critique, vLLM in process", load.dialogues, stage(engine, load))
    asyncio.run(engine.close())
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialogues", type=int, default=600)
    parser.add_argument("--model", default="3M", choices=("3M", "100M"))
    parser.add_argument("--tokens", type=int, default=48, help="of each reply")
    parser.add_argument("--cache", type=float, default=2.0, help="GiB of keys and values")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--priority", default=True, action=argparse.BooleanOptionalAction, help="told to the server")
    parser.add_argument("--in-flight", type=int, default=512, help="chains of ours at a time")
    parser.add_argument(
        "--constitution", type=Path, help="whose few-shots and principles both use; by default made ones"
    )
    parser.add_argument("--url", help="a running server of the model in benchmarks/work; by default one is started")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "served-chains.json")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    WORK.mkdir(exist_ok=True)
    whole = load_constitution(args.constitution) if args.constitution else constitution(EXAMPLES)
    folder, began = random_model(args.model, WORK), conditions()
    load = Load(folder, whole, args.dialogues, args.tokens, args.cache, args.in_flight, args.dtype, args.priority)
    if args.url:
        results = over_http(args.url, load)
    else:
        with server(load) as url:
            results = over_http(url, load)
    results.append(in_process(load))
    peer, peer_cpu = (sum(one) / 2 for one in zip(*((r.seconds, r.cpu_seconds) for r in results[:3:2]), strict=True))
    for one in (results[1], results[3]):
        ratio = peer / one.seconds
        met = "met" if ratio >= 1.5 else "NOT met"
        by_cpu = f"{peer_cpu / one.cpu_seconds:.2f}x by processor time"
        print(f"{one.name}: {ratio:.2f}x the gather's dialogues a second ({by_cpu})   goal >= 1.5 {met}")
    about = {name: value for name, value in asdict(load).items() if name not in ("folder", "whole")}
    about |= {"model": args.model, "few_shot_messages": len(example_turns(whole.examples))}
    # The server's worker is not counted as ours when it has ended, so what others took is not known.
    about |= {"others_share_of_cores": None}
    part = f"{args.model}, {args.dialogues} dialogues, {args.tokens} tokens, {args.cache:g} GiB"
    part += "" if args.dtype == "float32" else f", {args.dtype}"
    write_part(args.out, part, began, {**about, "results": [asdict(one) for one in results]})


if __name__ == "__main__":
    main()
