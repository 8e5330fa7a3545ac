"""Properties that hold for any problem."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.kernels import scored_tokens, token_logprobs
from tests.kernels.problems import LOGP_ERROR, random_problem, truth

SIZES = {
    "n": st.integers(1, 20),
    "depth": st.integers(1, 9),
    "vocab": st.integers(2, 70),
    "seed": st.integers(0, 2**16),
}
QUICK = settings(max_examples=25, deadline=None)


@QUICK
@given(**SIZES, scale=st.sampled_from([1e-3, 1.0, 30.0, 300.0]))
def test_any_scale_of_logits_keeps_the_budget(n: int, depth: int, vocab: int, seed: int, scale: float) -> None:
    problem = random_problem(n, depth, vocab, seed=seed)
    problem.hidden_ND.mul_(scale)
    scores = token_logprobs(problem.hidden_ND, problem.weight_VD, problem.targets_N, return_entropy=True)
    expected = truth(problem)
    assert (scores.logp_N <= 0).all()
    assert (scores.entropy_N >= 0).all()
    assert torch.allclose(scores.logp_N.double(), expected.logp_N, rtol=1e-6, atol=LOGP_ERROR * max(1.0, scale / 10))


@QUICK
@given(**SIZES)
def test_probabilities_of_all_tokens_sum_to_one(n: int, depth: int, vocab: int, seed: int) -> None:
    problem = random_problem(1, depth, vocab, seed=seed)
    rows = torch.zeros(vocab, dtype=torch.int32)
    scores = token_logprobs(problem.hidden_ND, problem.weight_VD, torch.arange(vocab), row_index=rows)
    assert abs(float(scores.logp_N.double().exp().sum()) - 1) <= 1e-5


@QUICK
@given(**SIZES)
def test_padding_and_prompts_change_nothing(n: int, depth: int, vocab: int, seed: int) -> None:
    problem = random_problem(n, depth, vocab, seed=seed)
    padded = torch.cat([torch.randn(3, depth), problem.hidden_ND, torch.randn(2, depth)])
    labels = torch.full((1, n + 5), -100)
    labels[0, 4 : 4 + n] = problem.targets_N  # hidden row 3 + i predicts label 4 + i
    row_index, targets = scored_tokens(labels)
    kept = token_logprobs(padded, problem.weight_VD, targets, row_index=row_index).logp_N
    plain = token_logprobs(problem.hidden_ND, problem.weight_VD, problem.targets_N).logp_N
    assert torch.allclose(kept, plain, atol=1e-6)


@QUICK
@given(**SIZES)
def test_one_batch_has_the_gradient_of_its_rows(n: int, depth: int, vocab: int, seed: int) -> None:
    problem = random_problem(n, depth, vocab, torch.float64, seed=seed).leaf()
    whole = token_logprobs(*problem.leaves[:2], problem.targets_N).logp_N.sum()
    parts = sum(
        token_logprobs(problem.hidden_ND[i : i + 1], problem.weight_VD, problem.targets_N[i : i + 1]).logp_N.sum()
        for i in range(n)
    )
    for a, b in zip(torch.autograd.grad(whole, problem.given), torch.autograd.grad(parts, problem.given), strict=True):
        assert torch.allclose(a, b, atol=1e-12)


def test_entropy_is_never_below_zero_where_one_other_token_has_all() -> None:
    problem = random_problem(8, 2, 11, seed=11)
    problem.hidden_ND.mul_(30.0)
    scores = token_logprobs(problem.hidden_ND, problem.weight_VD, problem.targets_N, return_entropy=True)
    assert (scores.entropy_N >= 0).all()
