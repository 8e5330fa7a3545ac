"""What we override exists upstream with the arguments we rely on: an upgrade that moves it fails here, not in a
training.
"""

from __future__ import annotations

import inspect

import pytest
import trl
from transformers import Trainer
from trl.trainer.base_trainer import _BaseTrainer
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.reward_trainer import RewardTrainer
from trl.trainer.sft_trainer import SFTTrainer

from cai.config.methods import ON_DATA
from cai.train.methods import METHODS
from cai.train.stepping import Stepping

HOSTS = (SFTTrainer, RewardTrainer, DPOTrainer)


def test_the_pinned_version() -> None:
    assert trl.__version__.startswith("1.16.")


@pytest.mark.parametrize("host", HOSTS)
def test_every_override_overrides_something(host: type) -> None:
    own = {"step_sum", "step_count", "tally", "look_ahead", "_stop", "_optimizer_state"}
    for name, member in vars(Stepping).items():
        if inspect.isfunction(member) and name not in own:
            assert callable(getattr(host, name)), f"{host.__name__}.{name} is gone"
    assert hasattr(host, "loss_is_scaled_for_ga")


@pytest.mark.parametrize("host", HOSTS)
def test_hooks_take_what_we_take(host: type) -> None:
    def names(member: object) -> list[str]:
        return list(inspect.signature(member).parameters)  # type: ignore[arg-type]

    assert names(host.compute_loss) == ["self", "model", "inputs", "return_outputs", "num_items_in_batch"]  # type: ignore[attr-defined]
    assert names(host.log) == ["self", "logs", "start_time"]  # type: ignore[attr-defined]
    assert names(Trainer._get_num_items_in_batch) == ["self", "batch_samples", "device"]
    assert names(Trainer._save_checkpoint) == ["self", "model", "trial"]
    assert names(Trainer._get_grad_norm) == ["self", "model", "grad_norm"]
    assert names(Trainer._load_optimizer_and_scheduler) == ["self", "checkpoint"]
    assert names(Trainer._load_rng_state) == ["self", "checkpoint"]
    assert names(DPOTrainer._precompute_ref_logps) == ["self", "dataset", "name", "batch_size"]
    assert names(_BaseTrainer._send_telemetry) == ["self"]
    source = inspect.getsource(Trainer._run_epoch)
    assert "_get_grad_norm" in source
    assert source.index("_get_grad_norm") < source.index("optimizer.step")  # a NaN gradient stops before it is applied


def test_the_command_line_lists_the_table() -> None:
    assert set(METHODS) == set(ON_DATA)
