"""`python -m cai.testbed.pretraining --out FOLDER`: make the tiny model, with its tokenizer and card."""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import tempfile
import time
from dataclasses import asdict, fields
from pathlib import Path

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from cai.testbed.pretraining.corpus import vocabulary_texts
from cai.testbed.pretraining.probes import HEADS
from cai.testbed.pretraining.tokenizer import learn
from cai.testbed.pretraining.training import Plan, new_model, train

SAVE_SECONDS = 300.0


def main() -> None:
    """Parse the plan from flags, train, save every five minutes and at the end."""
    parser = argparse.ArgumentParser(prog="python -m cai.testbed.pretraining", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--start", type=Path, help="folder of a tiny model to go on from, with its tokenizer")
    for one in fields(Plan):
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=type(one.default), default=one.default)
    args = parser.parse_args()
    plan = Plan(**{one.name: getattr(args, one.name) for one in fields(Plan)})
    if args.start is None:
        tokenizer = learn(vocabulary_texts(plan.seed, 2000))
    else:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(args.start)
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(args.out)
    with tempfile.TemporaryDirectory() as meeting:
        work = (plan, args.out, args.start, args.device, f"file://{meeting}/point")
        if plan.processes > 1:
            start_processes(run, work, nprocs=plan.processes, start_method="fork")
        else:
            run(0, *work)


def run(rank: int, plan: Plan, out: Path, start: Path | None, device: str, meeting: str) -> None:
    """One of the processes; the first one prints and saves."""
    torch.set_flush_denormal(True)  # gradients through sharp attention hold such numbers: half the speed with them
    if plan.processes > 1:
        torch.set_num_threads(1)
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=plan.processes)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
    model = (
        new_model(plan, tokenizer) if start is None else LlamaForCausalLM.from_pretrained(start, dtype=torch.float32)
    )
    model.to(torch.device(device))  # pyright: ignore[reportArgumentType]  (the library's decorator hides `self`)
    before = None if start is None else json.loads((start / "card.json").read_text())
    log = Log(plan, out, model, tokenizer, before)
    train(model, tokenizer, plan, log.step if rank == 0 else lambda *_: None)
    if rank == 0:
        log.save()
    if plan.processes > 1:
        dist.destroy_process_group()


class Log:
    """Prints progress and saves the model with its card."""

    def __init__(
        self,
        plan: Plan,
        out: Path,
        model: LlamaForCausalLM,
        tokenizer: PreTrainedTokenizerFast,
        before: dict[str, object] | None,
    ) -> None:
        self.plan, self.out, self.model, self.tokenizer, self.before = plan, out, model, tokenizer, before
        self.curve: list[float] = []
        self.wrong = dict.fromkeys(HEADS, 1.0)
        self.tokens, self.seconds, self.saved = 0, 0.0, time.monotonic()

    def step(self, step: int, loss: float, tokens: int, seconds: float, wrong: dict[str, float]) -> None:
        self.curve.append(loss)
        for name, share in wrong.items():
            self.wrong[name] += 0.05 * (share - self.wrong[name])
        self.tokens, self.seconds = tokens, seconds
        if step % 25 == 0:
            recent = sum(self.curve[-20:]) / len(self.curve[-20:])
            probes = " ".join(f"{name} {share:.2f}" for name, share in self.wrong.items())
            print(f"step {step} loss {recent:.4f} tokens {tokens:,} {seconds:.0f} s; wrong: {probes}", flush=True)
        if time.monotonic() - self.saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the model in half precision, the tokenizer and `card.json`."""
        state = {name: value.to(torch.bfloat16) for name, value in self.model.state_dict().items()}
        del state["lm_head.weight"]  # tied to the embedding
        self.model.save_pretrained(self.out, state_dict=state)
        self.tokenizer.save_pretrained(self.out)
        config = json.loads((self.out / "config.json").read_text())
        config["dtype"] = "float32"
        (self.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        weights = (self.out / "model.safetensors").read_bytes()
        card = {
            "command": "python -m cai.testbed.pretraining --out cai/testbed/tiny "
            + " ".join(f"--{key.replace('_', '-')} {value}" for key, value in asdict(self.plan).items()),
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "steps": len(self.curve),
            "tokens": self.tokens,
            "final_loss": round(sum(self.curve[-100:]) / len(self.curve[-100:]), 4),
            "seconds": round(self.seconds),
            "machine": platform.machine(),
            "torch": torch.__version__,
            "continued_from": self.before,
            "sha256": hashlib.sha256(weights).hexdigest(),
        }
        (self.out / "card.json").write_text(json.dumps(card, indent=2) + "\n")
        self.saved = time.monotonic()
