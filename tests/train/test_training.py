"""Whole trainings on a tiny random model: exact resume, equal accumulation, a stop at NaN, checkpoints that load
anywhere.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from cai.config.train import TrainSettings
from cai.errors import CaiError, InputError
from cai.records import Message, Prompt
from cai.train import checkpoints
from cai.train.checkpoints import NonFinite, last_checkpoint
from cai.train.loading import open_base
from cai.train.methods import METHODS
from cai.train.plan import make_plan
from cai.train.prepare import prepare
from cai.train.progress import read_metrics
from cai.train.rewarding import RewardModel
from cai.train.run import Job, train
from tests.train.conftest import pair_rows, sft_rows, tiny_model, tiny_tokenizer, write_rows

QUIET = lambda step, steps, row: None  # noqa: E731


def job_of(folder: Path, model: Path, method: str = "dpo", rows: int = 40, **settings: Any) -> Job:
    """A training of `rows` examples: 16 to a step unless said otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    made = sft_rows(rows) if method == "sft" else pair_rows(rows)
    data = write_rows(folder / "data.jsonl", made)
    defaults = {"batch_size": 16, "micro_batch": 8, "eval_share": 0.2, "check_every": 2, "epochs": 3.0, "max_steps": 5}
    chosen = TrainSettings.model_validate({"model": str(model), "data": [str(data)], **defaults, **settings})
    base = open_base(chosen)
    prepared = prepare(METHODS[method], chosen, base, folder)
    return Job(
        METHODS[method], chosen, base, prepared, make_plan(METHODS[method], chosen, base, prepared), folder / method
    )


def curve(folder: Path) -> list[dict[str, float]]:
    """Everything logged but times."""
    return [{k: v for k, v in r.items() if k not in ("seconds", "tokens_per_second")} for r in read_metrics(folder)]


def killed_at(job: Job, step: int) -> None:
    """Train in a child process that kills itself, without any warning, when `step` is shown."""
    pid = os.fork()
    if pid == 0:

        def show(now: int, steps: int, row: dict[str, float]) -> None:
            if now == step:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            train(job, show)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("method", "rank"),
    [
        ("dpo", 0),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("sft", 0), ("reward", 0), ("dpo", 4), ("reward", 4))
        ),
    ],
)
def test_a_killed_training_goes_on_with_the_same_curve(
    tmp_path: Path, tiny_folder: Path, method: str, rank: int
) -> None:
    whole, broken = (job_of(tmp_path / name, tiny_folder, method, lora_rank=rank) for name in ("whole", "broken"))
    train(whole, QUIET)
    killed_at(broken, 4 if method == "dpo" else 3)
    assert last_checkpoint(broken.folder) is not None
    train(broken, QUIET)
    assert curve(broken.folder) == curve(whole.folder)
    assert len([r for r in curve(whole.folder) if "loss" in r]) == whole.plan.steps
    ours, theirs = (load_file(j.folder / "model" / "model.safetensors") for j in (whole, broken))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("at", [1, pytest.param(4, marks=pytest.mark.slow), pytest.param(8, marks=pytest.mark.slow)])
def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(tmp_path: Path, tiny_folder: Path, at: int) -> None:
    """F14: the child dies at the `at`-th file that the second checkpoint, of step 4, puts on the disk."""
    broken, whole = (job_of(tmp_path / name, tiny_folder, eval_share=0.0) for name in ("broken", "whole"))
    pid = os.fork()
    if pid == 0:
        flush, flushed = checkpoints._flush, [0]

        def flush_or_die(path: Path) -> None:
            if ".checkpoint-4" in str(path):
                flushed[0] += 1
                if flushed[0] == at:
                    os.kill(os.getpid(), signal.SIGKILL)
            flush(path)

        checkpoints._flush = flush_or_die
        try:
            train(broken, QUIET)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert (broken.folder / ".checkpoint-4").is_dir()
    found = last_checkpoint(broken.folder)
    assert found is not None
    assert found.name == "checkpoint-2"
    train(broken, QUIET)
    train(whole, QUIET)
    assert curve(broken.folder) == curve(whole.folder)
    assert not list(broken.folder.glob(".checkpoint-*"))


def test_a_training_out_of_memory_goes_on_in_smaller_micro_batches(tmp_path: Path, tiny_folder: Path) -> None:
    def full(step: int, steps: int, row: dict[str, float]) -> None:
        if step == 3:
            raise torch.OutOfMemoryError("no memory")

    with pytest.raises(CaiError, match=r"out of memory at step 4: halve train\.micro_batch"):
        train(job_of(tmp_path / "small", tiny_folder, eval_share=0.0), full)
    small, whole = (
        job_of(tmp_path / n, tiny_folder, eval_share=0.0, micro_batch=m) for n, m in (("small", 4), ("whole", 8))
    )
    train(small, QUIET)
    train(whole, QUIET)
    losses = [[r["loss"] for r in curve(job.folder) if "loss" in r] for job in (small, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_accumulation_is_the_big_batch(tmp_path: Path, tiny_folder: Path) -> None:
    curves = []
    for micro in (16, 2):
        job = job_of(tmp_path / str(micro), tiny_folder, "sft", micro_batch=micro, eval_share=0.0, max_steps=3)
        train(job, QUIET)
        curves.append([n for r in curve(job.folder) if "loss" in r for n in (r["loss"], r["grad_norm"])])
    assert curves[0] == pytest.approx(curves[1], rel=2e-4)


def test_kto_has_one_reference_point_a_step_however_it_is_split(tmp_path: Path, tiny_folder: Path) -> None:
    names = ("loss", "grad_norm", "reference_point")
    curves = []
    for micro in (8, 1):
        settings = {"micro_batch": micro, "batch_size": 8, "eval_share": 0.0, "learning_rate": 3e-3, "warmup": 0.0}
        job = job_of(tmp_path / str(micro), tiny_folder, "kto", rows=8, max_steps=4, **settings)
        train(job, QUIET)
        curves.append([[r[n] for n in names] for r in curve(job.folder) if "loss" in r])
    assert curves[0][0][2] == pytest.approx(0.0, abs=1e-5)  # the policy still is the reference
    assert max(row[2] for row in curves[0]) > 0.1
    for whole, split in zip(*curves, strict=True):
        assert whole == pytest.approx(split, rel=5e-4, abs=1e-5)


def test_training_learns_and_its_model_loads(tmp_path: Path, tiny_folder: Path) -> None:
    job = job_of(tmp_path, tiny_folder, "dpo", rows=96, learning_rate=3e-3, hard=True, max_steps=24, check_every=8)
    final = train(job, QUIET)
    last = [r for r in curve(job.folder) if "eval_loss" in r][-1]
    assert last["eval_accuracy"] == 1.0
    assert last["eval_loss"] < 0.6
    AutoModelForCausalLM.from_pretrained(final, use_safetensors=True)
    assert AutoTokenizer.from_pretrained(final).chat_template
    assert "sha-a" in (final / "README.md").read_text()
    assert (final / "curves.svg").read_text().startswith("<svg")
    assert not [f for f in job.folder.rglob("*") if f.suffix in (".bin", ".pt", ".pth", ".pkl")]


def test_reward_model_scores_as_transformers_does(tmp_path: Path, tiny_folder: Path) -> None:
    job = job_of(tmp_path, tiny_folder, "reward", ensemble=2, learning_rate=3e-3, max_steps=12, check_every=6)
    train(job, QUIET)
    rewards = RewardModel.load(job.folder)
    prompt = Prompt.of((Message(role="user", content="how do i bake"),))
    found = rewards([prompt, prompt], [["take bread sure", "ask first no"], ["go"]])
    assert found.mean_S.shape == (3,)
    assert found.std_S.abs().max() > 0
    assert found.mean_S[0] > found.mean_S[1]
    member = AutoModelForSequenceClassification.from_pretrained(job.folder / "model-1").eval()
    tokenizer = AutoTokenizer.from_pretrained(job.folder / "model-1")
    talk = [{"role": "user", "content": "how do i bake"}, {"role": "assistant", "content": "go"}]
    ids = tokenizer.apply_chat_template(talk, tokenize=True, return_dict=True)["input_ids"]
    raw = member(torch.tensor([ids])).logits.item()
    first = RewardModel((rewards.members[0],), rewards.tokenise, rewards.pad, rewards.limit, rewards.attention)
    want = (raw - member.config.cai_reward_mean) / member.config.cai_reward_std
    assert first([prompt], [["go"]]).mean_S.item() == pytest.approx(want, abs=1e-4)


def test_a_reward_model_learns_which_of_several_replies_is_best(tmp_path: Path, tiny_folder: Path) -> None:
    """Groups of two and three replies in one batch, in bfloat16 with recomputed activations."""
    rows = [
        {"prompt": row["prompt"], "replies": ["go sure", row["rejected"], "stop no"][: 2 + i % 2], "p_best": p}
        for i, row in enumerate(pair_rows(40))
        for p in [[0.9, 0.1] if i % 2 == 0 else [0.8, 0.1, 0.1]]
    ]
    data = write_rows(tmp_path / "lists.jsonl", rows)
    half = {"precision": "bf16", "gradient_checkpointing": True, "learning_rate": 3e-3}
    job = job_of(tmp_path, tiny_folder, "reward", data=[str(data)], reward_loss="best-of-k", max_steps=12, **half)
    rewards = RewardModel.load(train(job, QUIET))
    assert [r["eval_accuracy"] for r in curve(job.folder) if "eval_accuracy" in r][-1] >= 0.9
    prompt = Prompt.of((Message(role="user", content="take the lamp"),))
    first, second = rewards([prompt], [["go sure", "stop no"]]).mean_S
    assert first > second


def test_an_adapter_is_merged_into_the_model_it_leaves(tmp_path: Path, tiny_folder: Path) -> None:
    job = job_of(tmp_path, tiny_folder, "dpo", lora_rank=4, learning_rate=1e-2)
    final = train(job, QUIET)
    assert (job.folder / "adapter" / "adapter_model.safetensors").is_file()
    merged, start = AutoModelForCausalLM.from_pretrained(final), AutoModelForCausalLM.from_pretrained(tiny_folder)
    assert {n for n, _ in merged.named_parameters()} == {n for n, _ in start.named_parameters()}
    assert not torch.equal(merged.model.layers[0].mlp.up_proj.weight, start.model.layers[0].mlp.up_proj.weight)
    with pytest.raises(InputError, match="lm_head"):
        train(job_of(tmp_path / "head", tiny_folder, lora_rank=4, lora_targets=["lm_head"]), QUIET)
    with pytest.raises(InputError, match=r"no layer nope; its linear layers are .*q_proj"):
        train(job_of(tmp_path / "nope", tiny_folder, lora_rank=4, lora_targets=["nope"]), QUIET)


def test_a_nan_stops_and_names_the_batch(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tiny_model("mistral").save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][tokenizer.convert_tokens_to_ids("lamp")] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    rows = [r for r in sft_rows(60) if "lamp" not in json.dumps(r)][:24]
    rows[7] = {**rows[7], "messages": [{"role": "user", "content": "lamp"}, rows[7]["messages"][1]]}  # type: ignore[index]
    job = job_of(tmp_path / "run", folder, "sft", rows=1, eval_share=0.0)
    write_rows(tmp_path / "run" / "data.jsonl", rows)
    prepared = prepare(job.method, job.settings, job.base, tmp_path)
    job = Job(
        job.method,
        job.settings,
        job.base,
        prepared,
        make_plan(job.method, job.settings, job.base, prepared),
        job.folder,
    )
    with pytest.raises(NonFinite, match=r"data\.jsonl:8\b"):
        train(job, QUIET)


class _Canary:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.file), "w"))


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth", "training_args.bin"])
def test_a_pickle_in_a_checkpoint_is_refused_unread(tmp_path: Path, tiny_folder: Path, name: str) -> None:
    job = job_of(tmp_path, tiny_folder)
    checkpoint = job.folder / "checkpoint-2"
    checkpoint.mkdir(parents=True)
    (checkpoint / name).write_bytes(pickle.dumps(_Canary(tmp_path / "canary")))
    with pytest.raises(InputError, match=name):
        train(job, QUIET)
    assert not (tmp_path / "canary").exists()


def test_a_changed_setting_is_refused_with_the_difference(tmp_path: Path, tiny_folder: Path) -> None:
    killed_at(job_of(tmp_path, tiny_folder), 3)
    with pytest.raises(InputError, match=r"settings\.beta: null in the run, 0\.5 now"):
        train(job_of(tmp_path, tiny_folder, beta=0.5), QUIET)


def test_the_reference_is_computed_once(tmp_path: Path, tiny_folder: Path) -> None:
    job = job_of(tmp_path, tiny_folder)
    killed_at(job, 3)
    before = (job.folder / "reference.safetensors").stat().st_mtime_ns
    train(job, QUIET)
    assert (job.folder / "reference.safetensors").stat().st_mtime_ns == before
    first = next(r for r in curve(job.folder) if "loss" in r)
    assert first["loss"] == pytest.approx(0.693147, abs=1e-5)


def test_early_stop_ends_with_the_best_checkpoint(tmp_path: Path, tiny_folder: Path) -> None:
    job = job_of(tmp_path, tiny_folder, "sft", early_stop=2, learning_rate=0.5, max_steps=20, check_every=1)
    train(job, QUIET)
    evaluations = [r["eval_loss"] for r in curve(job.folder) if "eval_loss" in r]
    assert len(evaluations) < job.plan.steps
    assert f"step {1 + evaluations.index(min(evaluations))}," in (job.folder / "model" / "README.md").read_text()
