"""The sides of `benchmarks.rl`: each function does one side's work in a process of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.training import QWEN, WIDE, Clock, Shape, make_model, make_tokenizer, token_rows

GROUPS, REPLIES = 2, 4
UPDATE = Shape("grpo-wide", "grpo", 384, 128, GROUPS * REPLIES, *WIDE, 3.0, 1 / 3)
GPU_UPDATE = Shape("grpo-qwen", "grpo", 1536, 512, GROUPS * REPLIES, *QWEN, 1.0, None)
BETA = 0.04
ROLLOUT_PROMPTS, MAX_TOKENS = 48, 96


def cpu_or_wall(cuda: bool) -> Callable[[], float]:
    """The clock: CPU seconds of this process, or wall time on a GPU."""
    return time.perf_counter if cuda else time.process_time


def rollout_prompts() -> list[Any]:
    from cai.testbed.world import prompts

    return prompts("train", ROLLOUT_PROMPTS, 0)


def rollouts_by_engine(kind: str) -> dict[str, float]:
    """Four replies a prompt, all asked for at once. One small call before warms everything up."""
    import torch

    from cai.cli.engines import open_engine
    from cai.config.engine import EngineSettings
    from cai.train.rl.rollout import roll_out

    engine: Any = open_engine(EngineSettings(kind=kind, model="tiny"))  # pyright: ignore[reportArgumentType]
    now = cpu_or_wall(torch.cuda.is_available())

    async def draw(count: int) -> list[Any]:
        shape = {"replies": REPLIES, "temperature": 1.0, "top_p": 1.0, "max_tokens": MAX_TOKENS}
        return await roll_out(engine, rollout_prompts()[:count], **shape, run_seed=0, step=0)  # pyright: ignore[reportArgumentType]

    async def both() -> tuple[list[Any], float]:
        await draw(2)
        began = now()
        return await draw(ROLLOUT_PROMPTS), now() - began

    samples, seconds = asyncio.run(both())
    asyncio.run(engine.close())
    tokens = sum(len(s.reply_ids) for s in samples)
    return {"seconds": seconds, "tokens": tokens, "tokens_per_second": tokens / seconds}


def rollouts_by_generate() -> dict[str, float]:
    """`transformers`' own `generate` on left-padded batches of 8, as a plain training loop would call it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from cai.testbed import TINY

    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer: Any = AutoTokenizer.from_pretrained(TINY, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
    model = model.to(device).eval()
    asked = [[m.model_dump() for m in p.messages] for p in rollout_prompts() for _ in range(REPLIES)]
    texts = [tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False) for turns in asked]
    ends = model.generation_config.eos_token_id
    ends = torch.tensor(ends if isinstance(ends, list) else [ends], device=device)

    def draw(batch: list[str]) -> int:
        inputs = tokenizer(batch, return_tensors="pt", padding=True, add_special_tokens=False).to(device)
        inputs.pop("token_type_ids", None)
        with torch.no_grad():
            out = model.generate(**inputs, do_sample=True, temperature=1.0, top_k=0, max_new_tokens=MAX_TOKENS)
        new = out[:, inputs["input_ids"].shape[1] :]
        ended = torch.isin(new, ends)
        before_end = ended.cumsum(dim=1) - ended.long() == 0
        return int(before_end.sum())

    torch.manual_seed(0)
    draw(texts[:8])
    now = cpu_or_wall(device == "cuda")
    began = now()
    tokens = sum(draw(texts[i : i + 8]) for i in range(0, len(texts), 8))
    seconds = now() - began
    return {"seconds": seconds, "tokens": tokens, "tokens_per_second": tokens / seconds}


def update_by_trl(shape: Shape, steps: int, cuda: bool, folder: Path) -> Clock:
    """TRL's GRPO trainer; rollout and reward are passed over, its reference pass, loss and optimizer are its own."""
    import torch
    from datasets import Dataset
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    batch = fixed_batch(shape, cuda)

    class Fixed(GRPOTrainer):
        def _prepare_inputs(self, generation_batch: Any) -> Any:
            ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
            with torch.no_grad():
                reference, _, _ = self._get_per_token_logps_and_entropies(
                    self.ref_model, ids, torch.ones_like(ids), shape.reply
                )
            return {**batch, "ref_per_token_logps": reference}

    make_model(shape, cuda).save_pretrained(folder / "policy")
    clock = Clock(cuda)
    config = GRPOConfig(
        output_dir=str(folder), per_device_train_batch_size=shape.examples, num_generations=REPLIES,
        max_completion_length=shape.reply, max_steps=steps, beta=BETA, learning_rate=1e-5, use_cpu=not cuda, bf16=cuda,
        logging_steps=1, report_to="none", save_strategy="no", disable_tqdm=True, gradient_checkpointing=False,
        dataloader_pin_memory=cuda, model_init_kwargs={"attn_implementation": "sdpa", "dtype": "float32"},
    )  # fmt: skip
    data = Dataset.from_list([{"prompt": str(i)} for i in range(shape.examples * steps)])
    trainer = Fixed(
        model=str(folder / "policy"), reward_funcs=lambda completions, **_: [0.0] * len(completions), args=config,
        train_dataset=data, processing_class=make_tokenizer(shape.vocab), callbacks=[clock.callback()],
    )  # fmt: skip
    trainer.train()
    return clock


def fixed_batch(shape: Shape, cuda: bool) -> dict[str, Any]:
    """The tokens and advantages both sides learn from, as TRL lays them out."""
    import torch

    rows, device = token_rows(shape, shape.examples), "cuda" if cuda else "cpu"
    prompts = [rows[i - i % REPLIES][0] for i in range(len(rows))]
    return {
        "prompt_ids": torch.tensor(prompts, device=device),
        "prompt_mask": torch.ones(len(rows), shape.prompt, dtype=torch.long, device=device),
        "completion_ids": torch.tensor([reply for _, reply, _ in rows], device=device),
        "completion_mask": torch.ones(len(rows), shape.reply, dtype=torch.long, device=device),
        "advantages": torch.linspace(-1, 1, len(rows), device=device),
        "num_items_in_batch": torch.tensor(float(len(rows) * shape.reply), device=device),
    }


def update_by_us(shape: Shape, steps: int, cuda: bool) -> Clock:
    """Old and reference scores, credit, one gradient step: what `Loop` does after a reply is paid."""
    import torch
    from accelerate import Accelerator

    from cai.config.rl import KL, RLSettings, Update
    from cai.records import Message, Prompt
    from cai.train.rl.experience import empty_experience
    from cai.train.rl.methods import method_of
    from cai.train.rl.policy import Policy, Reference
    from cai.train.rl.rollout import Sample
    from cai.train.rl.update import Learner, score, update

    settings = RLSettings(kl=KL(coefficient=BETA), update=Update(learning_rate=1e-5, warmup_steps=0))
    batch = fixed_batch(shape, False)
    prompt = Prompt.of((Message(role="user", content="-"),))
    ids = zip(batch["prompt_ids"].tolist(), batch["completion_ids"].tolist(), strict=True)
    samples = [Sample(prompt, tuple(p), tuple(r), "", True, (0.0,) * len(r)) for p, r in ids]
    accelerator = Accelerator(cpu=not cuda, mixed_precision="bf16" if cuda else "no")
    policy = Policy(make_model(shape, cuda)).eval()
    reference = Reference(policy).to(accelerator.device)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-5, weight_decay=0.0)
    prepared, optimizer = accelerator.prepare(policy, optimizer)
    learner = Learner(accelerator, prepared, reference, optimizer, method_of("grpo", settings), 0, "sdpa")
    clock = Clock(cuda)
    clock.peak.start()
    for step in range(steps):
        watch = clock.callback()
        watch.on_step_begin()
        experience = score(learner, empty_experience(samples, REPLIES), settings)
        experience = learner.method.credit(replace(experience, reward_B=batch["advantages"]), BETA)
        update(learner, experience, BETA, settings, step)
        watch.on_step_end()
    return clock


def whole_step(folder: Path, *, steps: int = 6, prompts: int = 32) -> dict[str, float]:
    """A short `cai train grpo` on the tiny model paid by a reward model; seconds of each phase, and of the rest."""
    from cai.cli.rl_job import prepare
    from cai.cli.rl_work import work
    from cai.config.rl import RLSettings, Rollout, Update, Watch

    reward = random_reward_model(folder / "reward")
    settings = RLSettings(
        run="step",
        rewards=[str(reward)],
        steps=steps,
        limit=200,
        save_every=100,
        rollout=Rollout(prompts_per_step=prompts, replies=REPLIES, max_tokens=MAX_TOKENS),
        update=Update(micro_prompts=32),
        watch=Watch(every=100, prompts=8),
    )
    walls: list[float] = [time.perf_counter()]
    rows: list[dict[str, float]] = []

    def show(step: int, steps: int, metrics: dict[str, float]) -> None:
        walls.append(time.perf_counter())
        rows.append(metrics)

    work(prepare("grpo", settings, folder), show)
    wall = walls[-1] - walls[1]
    phases = {name: sum(row[f"seconds_{name}"] for row in rows[1:]) for name in ("rollout", "reward", "update", "sync")}
    return {**phases, "wall": wall, "outside": 1.0 - (phases["rollout"] + phases["update"]) / wall}


def random_reward_model(folder: Path) -> Path:
    """A reward model of the tiny model's size with an untrained head: its speed is that of a trained one."""
    from cai.config.train import TrainSettings
    from cai.train.loading import load_reward_model, open_base
    from cai.train.rewarding import MEAN, STD

    base = open_base(TrainSettings(model="tiny"))
    model = load_reward_model(base, TrainSettings(model="tiny"), 0)
    setattr(model.config, MEAN, 0.0)
    setattr(model.config, STD, 1.0)
    model.save_pretrained(folder / "model")
    base.tokenizer.save_pretrained(folder / "model")
    return folder
