"""Scores against float64 truth, with an error budget, at shapes and values that break careless kernels."""

from __future__ import annotations

import pytest
import torch

from cai.kernels import token_logprobs
from tests.kernels.problems import (
    ENTROPY_ERROR,
    LOGP_ERROR,
    Problem,
    exact_logp,
    problem_of_logits,
    random_problem,
    truth,
)

TARGET = torch.tensor([1])


def check_scores(problem: Problem, **kwargs: object) -> None:
    got = token_logprobs(
        problem.hidden_ND, problem.weight_VD, problem.targets_N, return_entropy=True, return_lse=True,
        **problem.settings, **kwargs,
    )  # fmt: skip
    expected = truth(problem)
    gap_N = (got.logp_N.double() - expected.logp_N).abs()
    assert gap_N.max() <= LOGP_ERROR
    assert (got.logp_N <= 0).all()
    likely_N = expected.logp_N > -0.69
    assert (gap_N[likely_N] <= 1e-4 * expected.logp_N[likely_N].abs()).all()
    assert (got.entropy_N.double() - expected.entropy_N).abs().max() <= ENTROPY_ERROR
    assert (got.lse_N.double() - expected.lse_N).abs().max() <= LOGP_ERROR


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("n", "depth", "vocab"), [(1, 8, 2), (37, 64, 1003), (520, 24, 4099), (3, 1, 32003)])
def test_scores_keep_the_error_budget_at_ragged_shapes(n: int, depth: int, vocab: int, dtype: torch.dtype) -> None:
    check_scores(random_problem(n, depth, vocab, dtype, bias=True))


def test_a_padded_vocabulary_of_151936() -> None:
    problem = random_problem(4, 8, 151936)
    check_scores(Problem(problem.hidden_ND, problem.weight_VD, problem.targets_N % 151665, valid_vocab=151665))


@pytest.mark.slow
def test_a_ragged_number_of_tokens_at_full_vocabularies() -> None:
    for vocab in (32003, 151936):
        check_scores(random_problem(8191, 16, vocab, torch.bfloat16) if vocab < 1e5 else random_problem(513, 64, vocab))


def test_no_tokens_give_no_scores_and_zero_gradients() -> None:
    for plan in ("recompute", "cache", "frozen"):
        hidden, weight = torch.zeros(0, 4, requires_grad=True), torch.ones(7, 4, requires_grad=plan != "frozen")
        scores = token_logprobs(hidden, weight, torch.zeros(0, dtype=torch.long), plan=plan, return_entropy=True)
        assert scores.logp_N.shape == scores.entropy_N.shape == (0,)
        leaves = [leaf for leaf in (hidden, weight) if leaf.requires_grad]
        grads = torch.autograd.grad(scores.logp_N.sum(), leaves)
        assert grads[0].shape == (0, 4)
        assert all(not grad.any() for grad in grads[1:])


def test_a_vocabulary_of_one_token_is_certain() -> None:
    scores = token_logprobs(
        torch.randn(3, 2), torch.randn(1, 2), torch.zeros(3, dtype=torch.int32), return_entropy=True
    )
    assert (scores.logp_N == 0).all()
    assert (scores.entropy_N == 0).all()


@pytest.mark.parametrize("lead", [10.0, 20.0, 40.0, 50.0])
def test_near_certainty_keeps_relative_precision(lead: float) -> None:
    z_NV = torch.randn(5, 1000)
    targets_N = torch.arange(5) * 199
    z_NV[torch.arange(5), targets_N] = lead
    scores = token_logprobs(*_inputs(problem_of_logits(z_NV, targets_N)))
    expected = exact_logp(z_NV, targets_N)
    assert ((scores.logp_N - expected).abs() <= 1e-4 * expected.abs()).all()
    assert (scores.logp_N < 0).all()


@pytest.mark.parametrize("depth", [-60.0, -90.0, -110.0, -126.0, -200.0, -1e4])
def test_hopeless_targets_are_finite_and_exact(depth: float) -> None:
    z_NV = torch.randn(4, 300)
    z_NV[:, 7] = depth
    targets_N = torch.full((4,), 7)
    scores = token_logprobs(*_inputs(problem_of_logits(z_NV, targets_N)), return_entropy=True)
    expected = exact_logp(z_NV, targets_N)
    assert ((scores.logp_N - expected).abs() <= 1e-6 * expected.abs() + 1e-5).all()
    assert (scores.entropy_N - truth(problem_of_logits(z_NV, targets_N)).entropy_N).abs().max() <= ENTROPY_ERROR


def test_one_hopeless_row_does_not_disturb_its_neighbours() -> None:
    z_NV = torch.randn(3, 50)
    targets_N = torch.tensor([3, 7, 9])
    alone = token_logprobs(*_inputs(problem_of_logits(z_NV, targets_N))).logp_N
    z_NV[1, 7] = -500.0
    mixed = token_logprobs(*_inputs(problem_of_logits(z_NV, targets_N))).logp_N
    assert (mixed[[0, 2]] == alone[[0, 2]]).all()
    assert mixed[1] < -490


def test_logits_far_below_zero_everywhere() -> None:
    """A kernel whose masked columns count as logit 0 gives log-probs near -80 here."""
    z_NV = torch.randn(6, 333) - 80
    targets_N = torch.arange(6)
    scores = token_logprobs(*_inputs(problem_of_logits(z_NV, targets_N)))
    assert (scores.logp_N - exact_logp(z_NV, targets_N)).abs().max() <= LOGP_ERROR


def test_forbidden_tokens_have_no_probability() -> None:
    bias_V = torch.zeros(40)
    bias_V[[5, 6]] = -torch.inf
    hidden, weight = torch.randn(3, 4), torch.randn(40, 4)
    scores = token_logprobs(hidden, weight, torch.tensor([5, 1, 2]), bias=bias_V, return_entropy=True, return_lse=True)
    expected = truth(Problem(hidden, weight, torch.tensor([5, 1, 2]), bias_V))
    assert scores.logp_N[0] == -torch.inf
    assert torch.allclose(scores.logp_N[1:].double(), expected.logp_N[1:], atol=LOGP_ERROR)
    assert torch.allclose(scores.entropy_N.double(), expected.entropy_N, atol=ENTROPY_ERROR)
    assert torch.allclose(scores.lse_N.double(), expected.lse_N, atol=LOGP_ERROR)


def test_lse_and_its_gradient_do_not_depend_on_the_target() -> None:
    """The sum over all tokens is the same whether the target is hopeless, forbidden or ordinary."""
    bias_V = torch.zeros(40)
    bias_V[6], bias_V[7] = -torch.inf, -1e4
    leaf = random_problem(1, 4, 40).leaf()
    found = []
    for target in (5, 6, 7):
        scores = token_logprobs(*leaf.leaves[:2], torch.tensor([target]), bias=bias_V, return_lse=True)
        found.append((scores.lse_N.detach(), *torch.autograd.grad(scores.lse_N, leaf.leaves[:2])))
    for others in found[1:]:
        for a, b in zip(others, found[0], strict=True):
            assert torch.allclose(a, b, rtol=1e-5, atol=1e-5)


def test_no_score_or_gradient_reads_memory_nobody_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deterministic mode fills every new tensor with NaN."""
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)
    try:
        for plan in ("recompute", "cache", "frozen"):
            problem = random_problem(37, 12, 4099, torch.bfloat16, bias=True).leaf()
            for part in problem.given[1:]:
                part.requires_grad_(plan != "frozen")
            scores = token_logprobs(
                *problem.leaves[:2], problem.targets_N, bias=problem.bias_V, return_entropy=True, return_lse=True,
                valid_vocab=4099, plan=plan, softcap=20.0,
            )  # fmt: skip
            (scores.logp_N.sum() + scores.lse_N.sum()).backward()
            made = [leaf.grad for leaf in problem.given if leaf.requires_grad]
            for tensor in (scores.logp_N, scores.entropy_N, scores.lse_N, *made):
                assert tensor.isfinite().all()
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_nan_anywhere_in_the_head_reaches_every_score() -> None:
    problem = random_problem(4, 8, 100)
    problem.weight_VD[99, 3] = torch.nan
    scores = token_logprobs(*_inputs(problem), return_entropy=True)
    assert scores.logp_N.isnan().all()
    assert scores.entropy_N.isnan().all()


def test_strided_and_misaligned_inputs_score_the_same() -> None:
    problem = random_problem(33, 16, 257)
    expected = token_logprobs(*_inputs(problem)).logp_N
    hidden = torch.empty(33, 40)[:, 3:35:2].copy_(problem.hidden_ND)
    weight = torch.empty(16, 258).T[1:].copy_(problem.weight_VD)
    targets = torch.empty(66, dtype=torch.int32)[1::2].copy_(problem.targets_N)
    assert torch.allclose(token_logprobs(hidden, weight, targets).logp_N, expected, atol=1e-6)
    offset = torch.empty(33 * 16 + 1)[1:].view(33, 16).copy_(problem.hidden_ND)
    assert torch.allclose(token_logprobs(offset, problem.weight_VD, targets).logp_N, expected, atol=1e-6)


def test_repeated_rows_score_as_copies() -> None:
    problem = random_problem(6, 8, 90)
    row_index = torch.tensor([5, 0, 0, 0, 3])
    targets = torch.tensor([1, 2, 3, 2, 4], dtype=torch.int32)
    shared = token_logprobs(problem.hidden_ND, problem.weight_VD, targets, row_index=row_index).logp_N
    assert (shared == token_logprobs(problem.hidden_ND[row_index], problem.weight_VD, targets).logp_N).all()
    assert shared[1] == shared[3]


def test_sums_over_sequences_are_added_in_float64() -> None:
    problem = random_problem(1000, 4, 50)
    scores = token_logprobs(*_inputs(problem), cu_seqlens=torch.tensor([0, 0, 999, 1000]))
    assert scores.sum_S.dtype == torch.float64
    assert scores.sum_S[0] == 0
    exact = scores.logp_N[:999].double().sum()
    assert (scores.sum_S[1] - exact).abs() <= 1e-12 * exact.abs()
    assert scores.sum_S[2] == scores.logp_N[999]


def test_a_broken_sequence_stays_alone() -> None:
    """Differences of one running sum would carry its NaN into every later sequence."""
    problem = random_problem(4, 4, 50)
    problem.hidden_ND[1] = torch.nan
    sums = token_logprobs(*_inputs(problem), cu_seqlens=torch.tensor([0, 1, 2, 4])).sum_S
    assert sums.isnan().tolist() == [False, True, False]


def test_repeated_calls_agree_bit_for_bit() -> None:
    problem = random_problem(100, 32, 3001, torch.bfloat16)
    first, second = (token_logprobs(*_inputs(problem), return_entropy=True) for _ in range(2))
    assert torch.equal(first.logp_N, second.logp_N)
    assert torch.equal(first.entropy_N, second.entropy_N)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": torch.tensor([0, 9])}, "targets must lie in 0..8, got 9"),
        ({"targets": torch.tensor([0, -100])}, "got -100; `scored_tokens` drops ignored ones"),
        ({"targets": torch.tensor([0, 1, 2])}, "3 targets for 2 hidden rows"),
        ({"targets": torch.tensor([0.0, 1.0])}, "int32 or int64"),
        ({"weight": torch.zeros(9, 5)}, "hidden has 4 columns and weight 5"),
        ({"weight": torch.zeros(9, 4).bfloat16()}, "use autocast"),
        ({"valid_vocab": 10}, "valid_vocab must lie between 1 and 9, got 10"),
        ({"bias": torch.zeros(8)}, "bias must have shape"),
        ({"row_index": torch.tensor([0, 2])}, "row_index must lie in 0..1, got 2"),
        ({"temperature": 0.0}, "temperature must be a positive finite number, got 0.0"),
        ({"softcap": -1.0}, "softcap must be a positive"),
        ({"plan": "fast"}, "plan 'fast' is not one of"),
        ({"engine": "cuda"}, "engine 'cuda' is not one of"),
        ({"return_entropy": "yes"}, "return_entropy must be a bool, 'metric' or 'grad', got 'yes'"),
        ({"cu_seqlens": torch.tensor([0, 3])}, "cu_seqlens must rise within 0..2"),
        ({"cu_seqlens": torch.tensor([-1, 2])}, "cu_seqlens must rise within 0..2"),
        ({"cu_seqlens": torch.tensor([0, 2, 1, 2])}, "cu_seqlens must rise within 0..2"),
        ({"cu_seqlens": torch.tensor([0.0, 2.0])}, "cu_seqlens must be one row of int32 or int64"),
        ({"cu_seqlens": torch.zeros(0, dtype=torch.long)}, "cu_seqlens must be one row of int32 or int64"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "hidden": torch.zeros(2, 4),
        "weight": torch.zeros(9, 4),
        "targets": torch.tensor([0, 1]),
    }
    arguments |= change
    positional = [arguments.pop(name) for name in ("hidden", "weight", "targets")]
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        token_logprobs(*positional, **arguments)


def _inputs(problem: Problem) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return problem.hidden_ND, problem.weight_VD, problem.targets_N
