"""Properties that hold for any problem."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.kernels import candidate_logprobs, scored_tokens, token_logprobs
from cai.kernels.logit_map import LogitMap
from tests.kernels.problems import LOGP_ERROR, Problem, problem_of_logits, random_problem, truth, truth_of

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


LAYOUTS = {
    "dense": lambda matrix: matrix,
    "transposed": lambda matrix: matrix.T.contiguous().T,
    "stepped": lambda matrix: torch.empty(2 * len(matrix) + 1, 3 * matrix.shape[1])[1::2, ::3].to(matrix).copy_(matrix),
    "misaligned": lambda matrix: torch.cat([matrix.new_zeros(1), matrix.flatten()])[1:].view(matrix.shape),
}
GRADIENT = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 1e-2, torch.float16: 3e-3}
ROUNDED = 1e-14
"""What the reference's own 1 - p loses where p is nearly 1: there ours is right to 3e-15 of the gradient, by mpmath."""


@settings(max_examples=60, deadline=None)
@given(
    **SIZES,
    dtype=st.sampled_from(list(GRADIENT)),
    layouts=st.tuples(st.sampled_from(list(LAYOUTS)), st.sampled_from(list(LAYOUTS))),
    plan=st.sampled_from(["auto", "recompute", "cache", "frozen"]),
    logit_map=st.builds(
        LogitMap, st.sampled_from([1.0, 0.5]), st.sampled_from([None, 5.0]), st.sampled_from([1.0, 0.7])
    ),
    bias=st.booleans(),
    padding=st.integers(0, 9),
    rows=st.lists(st.integers(0, 2**16), max_size=30),
)
def test_any_call_agrees_with_the_reference(
    n: int, depth: int, vocab: int, seed: int, dtype: torch.dtype, layouts: tuple[str, str], plan: str,
    logit_map: LogitMap, bias: bool, padding: int, rows: list[int],
) -> None:  # fmt: skip
    """Dtype, layout, plan, logit map, bias, padding of the head and repeated rows in every combination."""
    made = random_problem(n, depth, vocab + padding, dtype, bias=bias, seed=seed)
    hidden, weight = (LAYOUTS[name](matrix) for name, matrix in zip(layouts, made.leaves[:2], strict=True))
    row_index = torch.tensor(rows, dtype=torch.long) % n
    problem = replace(made, hidden_ND=hidden, weight_VD=weight, targets_N=(7 * row_index + seed) % vocab)
    problem = replace(problem, logit_map=logit_map, valid_vocab=vocab)
    frozen, plan = plan == "frozen", "auto" if (plan, dtype) == ("cache", torch.float16) else plan
    wide = problem.double()
    for leaf in problem.given:
        leaf.requires_grad_(leaf is problem.hidden_ND or not frozen)
    ends = torch.tensor([0, len(rows) // 3, len(rows)])
    got = token_logprobs(
        problem.hidden_ND, problem.weight_VD, problem.targets_N, row_index=row_index, return_entropy=True,
        return_lse=True, cu_seqlens=ends, plan=plan, **problem.settings,
    )  # fmt: skip
    expected = truth_of(wide, row_index=row_index, cu_seqlens=ends)
    for a, b in zip(got, expected, strict=True):
        assert torch.allclose(a.double(), b, rtol=1e-6, atol=1e-4)
    assert (got.logp_N <= 0).all()
    upstream_N = torch.linspace(-2.0, 3.0, len(rows))
    leaves = [leaf for leaf in problem.given if leaf.requires_grad]
    mine = torch.autograd.grad((got.logp_N * upstream_N).sum(), leaves)
    truths = torch.autograd.grad((expected.logp_N * upstream_N).sum(), wide.given)
    for a, b, size in zip(mine, truths, sizes_of_terms(wide, row_index, upstream_N), strict=False):
        assert a.dtype == dtype
        gap = a.double() - b
        assert gap.norm() <= GRADIENT[dtype] * size or gap.abs().max() <= ROUNDED or b.abs().max() < 1e-6
    check_candidates(problem, wide, row_index)


def sizes_of_terms(wide: Problem, row_index: torch.Tensor, upstream_N: torch.Tensor) -> list[float]:
    """For each leaf the norm of its gradient with every term's absolute value: terms may cancel, their rounding not."""
    rows_ND, weight_VD = wide.hidden_ND.detach()[row_index], wide.weight_VD.detach()
    logits_NV = rows_ND @ weight_VD.T + (0.0 if wide.bias_V is None else wide.bias_V.detach())
    flat = problem_of_logits(logits_NV, wide.targets_N).double()
    flat = replace(flat, logit_map=wide.logit_map, valid_vocab=wide.valid_vocab)
    (slope_VN,) = torch.autograd.grad((truth_of(flat).logp_N * upstream_N).sum(), [flat.weight_VD])
    size_NV = slope_VN.T.abs()
    hidden_ND = torch.zeros_like(wide.hidden_ND).index_add(0, row_index, size_NV @ weight_VD.abs())
    return [float(size.norm()) for size in (hidden_ND, size_NV.T @ rows_ND.abs(), size_NV.sum(0))]


def check_candidates(problem: Problem, wide: Problem, row_index: torch.Tensor) -> None:
    """Three candidates, the first of them twice."""
    ids = torch.stack([problem.targets_N, problem.targets_N, problem.targets_N * 0], dim=1)
    got = candidate_logprobs(problem.hidden_ND, problem.weight_VD, ids, row_index=row_index, **problem.settings)
    for k in range(3):
        expected = truth_of(replace(wide, targets_N=ids[:, k]), row_index=row_index).logp_N
        assert torch.allclose(got[:, k].double(), expected, rtol=1e-6, atol=1e-4)
