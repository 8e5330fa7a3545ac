"""`accelerate launch` with two processes on gloo has the losses of one process, for every method that there is."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.train.conftest import pair_rows, sft_rows, tiny_model, tiny_tokenizer, write_rows
from tests.train.every_method import REINFORCED, STEPS, SUPERVISED

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
DDP = ["--multi_gpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
FSDP2 = ["--config_file", str(ROOT / "runs" / "fsdp2.accelerate.yaml"), "--mixed_precision", "no"]
"""The settings that ship, but for the format: what is compared is computed in float32."""
ADAPTED = ("sft+lora", "reward+lora")
IN_HALF = ("sft+lora+bf16", "reward+lora+bf16")
RESUMED = ("sft", "reward", *ADAPTED)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model and its data."""
    place = tmp_path_factory.mktemp("every")
    tiny_model().save_pretrained(place / "model")
    tiny_tokenizer().save_pretrained(place / "model")
    write_rows(place / "sft.jsonl", sft_rows(32))
    write_rows(place / "pairs.jsonl", pair_rows(32))
    return place


def trained(folder: Path, name: str, launcher: list[str], module: str, methods: tuple[str, ...]) -> Path:
    """The folder of the runs of all these methods."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    launch = ["-m", "accelerate.commands.launch", "--num_processes", "2", "--main_process_port", port, *launcher]
    micro = "2" if launcher else "4"
    command = [sys.executable, *(launch if launcher else []), "-m", module, str(folder), str(folder / name), micro]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, *methods], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return folder / name / "a"


@pytest.fixture(scope="module")
def one(folder: Path) -> Path:
    return trained(folder, "one", [], "tests.train.every_method", (*SUPERVISED, *REINFORCED, *ADAPTED, *IN_HALF))


@pytest.fixture(scope="module")
def two(folder: Path) -> Path:
    return trained(folder, "two", DDP, "tests.train.every_method", (*SUPERVISED, *REINFORCED))


@pytest.fixture(scope="module")
def sharded(folder: Path) -> Path:
    return trained(folder, "sharded", FSDP2, "tests.train.every_sharded", (*SUPERVISED, *ADAPTED, *IN_HALF))


def test_no_method_is_left_out() -> None:
    from cai.config.methods import REINFORCEMENT
    from cai.train.methods import METHODS

    assert set(SUPERVISED) == set(METHODS)
    assert set(REINFORCED) == set(REINFORCEMENT)


def folder_of(place: Path, name: str) -> Path:
    """Where `every_method` left a training."""
    method, *ways = name.split("+")
    return place.parent.with_name("+".join((place.parent.name, *ways))) / place.name / method


def logged(folder: Path, name: str) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    found = [row[name] for row in map(json.loads, lines) if name in row]
    assert len(found) == STEPS
    return found


@pytest.mark.parametrize("method", SUPERVISED)
def test_two_processes_have_the_losses_of_one(one: Path, two: Path, method: str) -> None:
    for name in ("loss", "grad_norm"):
        assert logged(two / method, name) == pytest.approx(logged(one / method, name), rel=2e-4)


@pytest.mark.parametrize("method", REINFORCED)
def test_two_processes_take_the_reinforcement_steps_of_one(one: Path, two: Path, method: str) -> None:
    assert logged(two / method, "grad_norm") == pytest.approx(logged(one / method, "grad_norm"), rel=2e-4)
    weights, theirs = (load_file(place / method / "model" / "model.safetensors") for place in (one, two))
    for name, value in weights.items():
        torch.testing.assert_close(theirs[name], value, atol=1e-5, rtol=1e-3, msg=f"{method} {name}")


@pytest.mark.parametrize("method", [*SUPERVISED, *ADAPTED])
def test_two_sharded_processes_have_the_losses_of_one_and_leave_whole_weights(
    one: Path, sharded: Path, method: str
) -> None:
    alone, together = (folder_of(place, method) for place in (one, sharded))
    for name in ("loss", "grad_norm"):
        assert logged(together, name) == pytest.approx(logged(alone, name), rel=2e-4)
    plain, whole = (load_file(place / "model" / "model.safetensors") for place in (alone, together))
    # A head tied to the embeddings is written once by one process and twice after sharding.
    assert whole.keys() - plain.keys() <= {"lm_head.weight"}
    for name, weight in plain.items():
        torch.testing.assert_close(whole[name], weight, atol=2e-5, rtol=1e-3)
    if method.startswith("reward"):
        found = [json.loads((place / "result.json").read_text()) for place in (alone, together)]
        for name in ("reward_mean", "reward_std", "length_bias"):
            assert found[1][name] == pytest.approx(found[0][name], rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("method", IN_HALF)
def test_two_sharded_processes_compute_adapters_in_bfloat16_as_one_does(one: Path, sharded: Path, method: str) -> None:
    alone, together = (folder_of(place, method) for place in (one, sharded))
    assert logged(together, "loss") == pytest.approx(logged(alone, "loss"), rel=2e-2)
    assert logged(together, "grad_norm") == pytest.approx(logged(alone, "grad_norm"), rel=0.1)


@pytest.fixture(scope="module")
def resumed(folder: Path, sharded: Path) -> Path:
    """The sharded trainings without what came after their first step, given again."""
    for method in RESUMED:
        place = folder_of(folder / "resumed" / "a", method)
        shutil.copytree(folder_of(sharded, method), place)
        for name in ("model", "adapter", f"checkpoint-{STEPS}"):
            shutil.rmtree(place / name, ignore_errors=True)
        (place / "result.json").unlink()
    return trained(folder, "resumed", FSDP2, "tests.train.every_sharded", RESUMED)


@pytest.mark.parametrize("method", RESUMED)
def test_a_sharded_training_goes_on_from_its_checkpoint_as_if_nothing_had_been(
    sharded: Path, resumed: Path, method: str
) -> None:
    whole, again = (folder_of(place, method) for place in (sharded, resumed))
    for name in ("loss", "grad_norm"):
        assert logged(again, name) == pytest.approx(logged(whole, name), rel=1e-6)
    weights, theirs = (load_file(place / "model" / "model.safetensors") for place in (whole, again))
    for name, value in weights.items():
        torch.testing.assert_close(theirs[name], value, atol=1e-7, rtol=1e-6)
