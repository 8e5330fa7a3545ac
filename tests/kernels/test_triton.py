"""The Triton kernels under the interpreter: against plain torch, at shapes that end inside every kind of tile.

Where a GPU is found the same tests run on it. Each mask of each kernel was mutated once by hand; the table in
docs/kernels.md names the test that fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch

pytest.importorskip("triton")

from cai.kernels import candidate_logprobs, engines, fused_token_loss, token_logprobs
from cai.kernels.batch import HeadBatch
from cai.kernels.fold import Fold, Mix
from cai.kernels.fold_torch import fold_torch
from cai.kernels.logit_map import LogitMap
from cai.kernels.target_logits import candidate_logits
from cai.kernels.triton_fold import fold_cublas
from cai.kernels.triton_forward import fold_triton
from cai.kernels.triton_rows import add_slabs, candidate_dots, scale_rows
from cai.kernels.tuned import INTERPRETER
from tests.kernels.problems import LOGP_ERROR, distance, exact_logp, problem_of_logits, random_problem, truth, truth_of

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
COPY_ENGINE = replace(INTERPRETER, tma=True, halves=True)
FOLDS: dict[str, Fold] = {
    "pointers": partial(fold_triton, config=INTERPRETER),
    "copy engine": partial(fold_triton, config=COPY_ENGINE),
    "library product": fold_cublas,
}
STORED = {torch.float32: 1e-5, torch.bfloat16: 8e-3, torch.float16: 1e-3}  # bfloat16 is truncated by the interpreter
PLAIN = LogitMap()
BENT = LogitMap(scale=1.3, softcap=5.0, temperature=0.8)


def batch_of(n: int, depth: int, vocab: int, dtype: torch.dtype, logit_map: LogitMap, *, bias: bool) -> HeadBatch:
    problem = random_problem(n, depth, vocab, dtype, bias=bias)
    bias_V = None if problem.bias_V is None else problem.bias_V.float().to(DEVICE)
    leaves = (problem.hidden_ND.to(DEVICE), problem.weight_VD.to(DEVICE), bias_V, problem.targets_N.to(DEVICE))
    return HeadBatch(*leaves, logit_map)


def check_fold(fold: Fold, batch: HeadBatch, first: int, last: int, *, moment: bool, mix: Mix | None) -> None:
    shift_N = torch.linspace(2.0, 9.0, batch.n, device=DEVICE)
    width = (last - first + 15) // 8 * 8
    expected_NC = torch.full((batch.n, width), torch.nan, device=DEVICE)
    got_NC = torch.full((batch.n, width), torch.nan, device=DEVICE, dtype=batch.hidden_ND.dtype)
    columns = last - first
    expected = fold_torch(batch, first, last, shift_N, store_NC=expected_NC[:, :columns], moment=True, mix=mix)
    got = fold(batch, first, last, shift_N, store_NC=got_NC[:, :columns], moment=moment, mix=mix)
    alone = fold(batch, first, last, shift_N)
    assert torch.allclose(got.sum_N, expected.sum_N, rtol=2e-5)
    assert torch.equal(alone.sum_N, got.sum_N)
    if moment:
        assert torch.allclose(got.moment_N, expected.moment_N, rtol=2e-5, atol=1e-5)
    gap_NC = (got_NC.float() - expected_NC)[:, :columns].abs()
    size_NC = expected_NC[:, :columns].abs()
    tiny = 1e-6 if batch.hidden_ND.dtype == torch.float16 else 1e-9
    assert (gap_NC <= STORED[batch.hidden_ND.dtype] * size_NC + 1e-5 * size_NC.max() + tiny).all()
    assert got_NC[:, columns:].isnan().all()


@pytest.mark.parametrize("engine", FOLDS)
@pytest.mark.parametrize("dtype", STORED)
def test_folds_agree_with_plain_torch(engine: str, dtype: torch.dtype) -> None:
    """Rows, columns, depth and slabs all end inside a tile; the columns start inside the vocabulary."""
    batch = batch_of(37, 40, 500, dtype, PLAIN, bias=False)
    check_fold(FOLDS[engine], batch, 24, 471, moment=False, mix=None)


@pytest.mark.parametrize("engine", FOLDS)
def test_folds_agree_with_bias_cap_moment_and_mix(engine: str) -> None:
    batch = batch_of(35, 24, 331, torch.float32, BENT, bias=True)
    mix = Mix(*torch.randn(2, 35, generator=torch.Generator().manual_seed(3)).to(DEVICE))
    check_fold(FOLDS[engine], batch, 0, 331, moment=True, mix=mix)


@pytest.mark.parametrize("engine", FOLDS)
def test_folds_of_sizes_around_a_tile(engine: str) -> None:
    for n, depth, vocab in [(1, 1, 1), (1, 8, 2), (32, 32, 64), (33, 33, 65)]:
        check_fold(
            FOLDS[engine], batch_of(n, depth, vocab, torch.float32, PLAIN, bias=True), 0, vocab, moment=True, mix=None
        )


@pytest.mark.parametrize("engine", FOLDS)
def test_folds_of_logits_far_below_zero(engine: str) -> None:
    """Columns beyond the vocabulary have raw product 0, which is huge beside logits of -80."""
    z_NV = torch.randn(5, 70, generator=torch.Generator().manual_seed(5)) - 80
    problem = problem_of_logits(z_NV.to(DEVICE), torch.arange(5, device=DEVICE))
    hidden_ND = torch.eye(5, 8, device=DEVICE)
    weight_VD = torch.nn.functional.pad(problem.weight_VD, (0, 3)).contiguous()
    batch = HeadBatch(hidden_ND, weight_VD, None, problem.targets_N, PLAIN)
    sums = FOLDS[engine](batch, 0, 70, torch.full((5,), -80.0, device=DEVICE), moment=True)
    expected = fold_torch(batch, 0, 70, torch.full((5,), -80.0, device=DEVICE), moment=True)
    assert torch.allclose(sums.sum_N, expected.sum_N, rtol=1e-5)
    assert torch.allclose(sums.moment_N, expected.moment_N, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("engine", FOLDS)
def test_a_forbidden_token_adds_nothing_to_moment_and_mix(engine: str) -> None:
    batch = batch_of(3, 8, 70, torch.float32, PLAIN, bias=True)
    assert batch.bias_V is not None
    batch.bias_V[[4, 69]] = -torch.inf
    shift_N, mix = torch.zeros(3, device=DEVICE), Mix(*torch.ones(2, 3, device=DEVICE))
    got_NC, expected_NC = torch.empty(2, 3, 72, device=DEVICE)
    got = FOLDS[engine](batch, 0, 70, shift_N, store_NC=got_NC[:, :70], moment=True, mix=mix)
    expected = fold_torch(batch, 0, 70, shift_N, store_NC=expected_NC[:, :70], moment=True, mix=mix)
    assert torch.allclose(got.moment_N, expected.moment_N, rtol=1e-5, atol=1e-5)
    assert torch.allclose(got_NC[:, :70], expected_NC[:, :70], rtol=1e-5, atol=1e-5)
    assert not got_NC[:, [4, 69]].any()


def test_a_row_scores_the_same_in_any_batch() -> None:
    batch = batch_of(40, 24, 300, torch.float32, PLAIN, bias=False)
    if DEVICE == "cpu":
        # The interpreter multiplies by numpy, whose rows may depend on their place in a tile: nothing is to be rounded.
        quarters = ((t * 4).round() / 4 for t in (batch.hidden_ND, batch.weight_VD))
        batch = replace(batch, **dict(zip(("hidden_ND", "weight_VD"), quarters, strict=True)))
    shift_N = torch.zeros(40, device=DEVICE)
    whole = fold_triton(batch, 0, 300, shift_N, moment=True)
    for start, end in ((0, 1), (33, 40), (5, 37)):
        part = fold_triton(batch.rows(start, end), 0, 300, shift_N[start:end], moment=True)
        assert torch.equal(part.sum_N, whole.sum_N[start:end])
        assert torch.equal(part.moment_N, whole.moment_N[start:end])


def test_misaligned_rows_take_the_pointer_path() -> None:
    batch = batch_of(9, 7, 90, torch.float32, PLAIN, bias=False)
    check_fold(FOLDS["copy engine"], batch, 0, 90, moment=True, mix=None)


@pytest.mark.parametrize("dtype", STORED)
def test_dots_agree_with_a_gather(dtype: torch.dtype) -> None:
    for logit_map, bias in ((PLAIN, False), (BENT, True)):
        batch = batch_of(7, 1027, 60, dtype, logit_map, bias=bias)
        ids = torch.tensor([[0, 59], [3, -1], [60, 2], [5, 5], [1, 1], [58, 0], [7, 9]], device=DEVICE)
        got, expected = candidate_dots(batch, ids), candidate_logits(batch, ids)
        assert torch.equal(got.isnan(), expected.isnan())
        assert got.isnan().sum() == 2
        assert torch.allclose(got, expected, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_slabs_are_added_first_to_last() -> None:
    parts = torch.randn(5, 300, generator=torch.Generator().manual_seed(2)).to(DEVICE)
    expected = torch.zeros(300, device=DEVICE)
    for part in parts:
        expected = expected + part
    assert torch.equal(add_slabs(parts), expected)


def test_rows_are_scaled_in_float32_and_rounded_once() -> None:
    rows = torch.randn(5, 3000)[:, ::1].to(DEVICE, torch.bfloat16)[:, :2051]
    scale = torch.tensor([0.0, 1e-20, 3.0, -1.0, 1e20], device=DEVICE)
    assert torch.equal(scale_rows(rows, scale, torch.float32), rows.float() * scale[:, None])


@pytest.mark.parametrize("engine", ["triton", "cublas"])
@pytest.mark.parametrize("dtype", STORED)
def test_the_op_keeps_its_budgets_on_every_engine(engine: str, dtype: torch.dtype) -> None:
    problem = replace(random_problem(9, 16, 203, dtype, bias=True), logit_map=BENT)
    problem = replace(problem, hidden_ND=problem.hidden_ND.to(DEVICE), weight_VD=problem.weight_VD.to(DEVICE))
    problem = replace(problem, targets_N=problem.targets_N.to(DEVICE), bias_V=problem.bias_V.to(DEVICE)).leaf()
    wide = problem.double()
    expected = truth_of(wide)
    true = torch.autograd.grad(expected.logp_N.sum(), wide.given)
    for plan in ("recompute",) if dtype == torch.float16 else ("recompute", "cache"):
        got = token_logprobs(
            *problem.leaves[:2], problem.targets_N, plan=plan, engine=engine, return_entropy=True, **problem.settings
        )
        assert (got.logp_N - expected.logp_N).abs().max() <= LOGP_ERROR
        assert (got.entropy_N - expected.entropy_N).abs().max() <= 1e-4
        budget = 1e-4 if dtype == torch.float32 else 1e-2
        for a, b in zip(torch.autograd.grad(got.logp_N.sum(), problem.given), true, strict=True):
            assert distance(a, b) <= budget


def test_float16_never_keeps_numerators_in_its_own_range() -> None:
    """Left to itself the planner took them for a frozen head, and the gradient was wrong by half."""
    problem = random_problem(40, 33, 63, torch.float16)
    for frozen in (False, True):
        leaf, wide = problem.leaf(), problem.double()
        leaf.weight_VD.requires_grad_(not frozen)
        (got,) = torch.autograd.grad(
            token_logprobs(*leaf.leaves[:2], leaf.targets_N, engine="triton").logp_N.sum(), [leaf.hidden_ND]
        )
        (true,) = torch.autograd.grad(truth_of(wide).logp_N.sum(), [wide.hidden_ND])
        assert distance(got, true) <= 3e-3


@pytest.mark.parametrize("engine", ["triton", "cublas"])
def test_every_plan_survives_certain_and_hopeless_targets(engine: str) -> None:
    z_NV = torch.randn(4, 80, generator=torch.Generator().manual_seed(4))
    z_NV[0, 7], z_NV[1, 7], z_NV[2, 7] = 45.0, -112.0, -300.0
    problem = problem_of_logits(z_NV, torch.full((4,), 7))
    wide = problem.double()
    true = torch.autograd.grad(truth_of(wide).logp_N.sum(), wide.given)
    for plan in ("recompute", "cache", "frozen"):
        leaf = problem.leaf()
        leaf.weight_VD.requires_grad_(plan != "frozen")
        got = token_logprobs(leaf.hidden_ND, leaf.weight_VD, leaf.targets_N, plan=plan, engine=engine)
        assert torch.allclose(got.logp_N.double(), exact_logp(z_NV, leaf.targets_N), rtol=1e-5)
        got.logp_N.sum().backward()
        assert distance(leaf.hidden_ND.grad, true[0]) <= 1e-4


def test_candidates_and_losses_run_on_the_kernels() -> None:
    problem = random_problem(6, 16, 90).leaf()
    ids = torch.tensor([3, 50, 89])
    got = candidate_logprobs(problem.hidden_ND, problem.weight_VD, ids, engine="triton")
    expected = torch.log_softmax(problem.hidden_ND @ problem.weight_VD.T, -1)[:, ids]
    assert (got - expected).abs().max() <= LOGP_ERROR
    loss, _ = fused_token_loss(
        problem.hidden_ND, problem.weight_VD, problem.targets_N, lambda chunk: (-chunk.logp_N.sum(), {}),
        engine="triton", budget_bytes=4 * 96 * 4,
    )  # fmt: skip
    assert abs(float(loss) + float(truth(problem).logp_N.sum())) <= 1e-4


def test_an_engine_that_cannot_run_says_why() -> None:
    with pytest.raises(ValueError, match="engine 'triton' cannot run here: Triton kernels have no float64"):
        token_logprobs(torch.zeros(1, 2).double(), torch.zeros(3, 2).double(), torch.tensor([0]), engine="triton")
    assert (
        engines.choose("auto", batch_of(2, 8, 9, torch.float32, PLAIN, bias=False)).name == "torch" or DEVICE == "cuda"
    )


@pytest.mark.skipif(DEVICE == "cuda", reason="guard pages are in host memory")
def test_no_kernel_touches_memory_beyond_its_tensors() -> None:
    """Every input and output ends at a page that must not be touched: a missing mask kills the child process."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.guarded"],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.skipif(DEVICE == "cuda", reason="there the kernels themselves run")
def test_kernels_compile_for_hopper_without_spilling() -> None:
    """The compiler and the assembler come with Triton and need no GPU: they show what the interpreter cannot."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.hopper"],
        env=os.environ | {"TRITON_INTERPRET": "0"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
