"""The benchmark's modes and providers give the truth's numbers on a small ragged problem: what it times is right."""

from __future__ import annotations

import pytest
import torch

from benchmarks.head_measure import measure
from benchmarks.head_providers import MODULES, OURS, absent, names

SMALL = {"shape": (37, 16, 200), "device": "cpu", "dtype": "float32", "repeats": 1, "threads": 1}


@pytest.mark.parametrize("mode", OURS)
def test_every_provider_of_a_mode_is_right(mode: str) -> None:
    torch.set_num_threads(1)
    for provider in names(mode, "cpu"):
        found = measure({"mode": mode, "provider": provider, **SMALL})
        errors = {k: v for k, v in found.items() if k in ("logp_max", "entropy_max", "hidden_grad", "weight_grad")}
        assert errors, f"{provider} was not compared with anything"
        assert max(errors.values()) < 1e-4, (provider, errors)
        assert ("weight_grad" in errors) == (mode in ("train", "mean", "masked", "dpo", "grpo"))


def test_a_peer_left_out_is_named_with_its_reason() -> None:
    for device in ("cpu", "cuda"):
        for mode in OURS:
            left_out = absent(mode, device)
            assert set(left_out) | set(names(mode, device)) >= set(MODULES)
            assert not set(left_out) & set(names(mode, device))
            assert all(left_out.values())
