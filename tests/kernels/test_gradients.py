"""Gradients of every plan against float64 truth."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from cai.kernels import reference_token_logprobs, token_logprobs
from cai.kernels.logit_map import LogitMap
from tests.kernels.problems import Problem, distance, problem_of_logits, random_problem, truth_of

PLANS = ("recompute", "cache", "frozen")
BUDGET = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-3, torch.float16: 5e-4}


def gradients(problem: Problem, plan: str, upstream: torch.Tensor, **kwargs: object) -> list[torch.Tensor]:
    leaf = problem.leaf()
    if plan == "frozen":
        leaf.weight_VD.requires_grad_(False)
    scores = token_logprobs(*leaf.leaves[:2], leaf.targets_N, plan=plan, **leaf.settings, **kwargs)
    return list(torch.autograd.grad((scores.logp_N * upstream).sum(), [t for t in leaf.given if t.requires_grad]))


def true_gradients(problem: Problem, upstream: torch.Tensor, **kwargs: object) -> list[torch.Tensor]:
    wide = problem.double()
    return list(torch.autograd.grad((truth_of(wide, **kwargs).logp_N * upstream).sum(), wide.given))


@pytest.mark.parametrize(
    ("plan", "dtype"), [pair for pair in product(PLANS, BUDGET) if pair != ("cache", torch.float16)]
)
def test_gradients_keep_the_error_budget_for_any_upstream(plan: str, dtype: torch.dtype) -> None:
    problem = random_problem(130, 24, 1003, dtype)
    upstream = torch.randn(130, generator=torch.Generator().manual_seed(1)) * 10
    for got, expected in zip(gradients(problem, plan, upstream), true_gradients(problem, upstream), strict=False):
        assert distance(got, expected) <= BUDGET[dtype]


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(("n", "vocab"), [(1021, 32003), (129, 151936)])
def test_gradients_at_full_ragged_vocabularies(n: int, vocab: int, plan: str) -> None:
    problem = random_problem(n, 16, vocab)
    upstream = torch.randn(n, generator=torch.Generator().manual_seed(1))
    got = gradients(problem, plan, upstream, budget_bytes=128 << 20)
    for part, expected in zip(got, true_gradients(problem, upstream), strict=False):
        assert distance(part, expected) <= BUDGET[torch.float32]


def test_a_part_in_the_cache_and_the_rest_recomputed() -> None:
    problem = random_problem(300, 16, 501, bias=True)
    upstream = torch.randn(300)
    budget = 130 * 504 * 4  # 128 rows fit
    got = gradients(problem, "cache", upstream, budget_bytes=budget)
    for part, expected in zip(got, true_gradients(problem, upstream), strict=True):
        assert distance(part, expected) <= 1e-5


@pytest.mark.parametrize("plan", ["recompute", "frozen"])
def test_tiny_budgets_only_cost_time(plan: str) -> None:
    problem = random_problem(70, 8, 700)
    upstream = torch.randn(70)
    small, large = gradients(problem, plan, upstream, budget_bytes=2048), gradients(problem, plan, upstream)
    assert all(distance(a, b) <= 1e-5 for a, b in zip(small, large, strict=True))


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(("softcap", "temperature", "bias"), list(product([None, 4.0], [1.0, 0.7], [False, True])))
def test_gradcheck_of_softcap_temperature_and_bias(
    softcap: float | None, temperature: float, bias: bool, plan: str
) -> None:
    problem = random_problem(5, 3, 11, torch.float64, bias=bias).leaf()
    frozen = plan == "frozen"
    weight, bias_V = problem.weight_VD.requires_grad_(not frozen), problem.bias_V
    if bias_V is not None:
        bias_V.requires_grad_(not frozen)
    row_index = torch.tensor([0, 1, 1, 4, 3, 0])
    targets = torch.tensor([0, 3, 4, 9, 8, 2])

    def scores(*leaves: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = dict(zip(names, leaves, strict=True))
        out = token_logprobs(
            given["hidden"], given.get("weight", weight), targets, row_index=row_index, bias=given.get("bias", bias_V),
            softcap=softcap, temperature=temperature, logit_scale=1.3, valid_vocab=10, return_lse=True, plan=plan,
            cu_seqlens=torch.tensor([0, 2, 2, 6]),
        )  # fmt: skip
        return out.logp_N, out.lse_N, out.sum_S

    every = {"hidden": problem.hidden_ND, "weight": weight, "bias": bias_V}
    names = [name for name, leaf in every.items() if leaf is not None and leaf.requires_grad]
    assert torch.autograd.gradcheck(scores, tuple(every[name] for name in names), fast_mode=True)


@pytest.mark.parametrize("softcap", [None, 3.0])
def test_gradcheck_of_the_entropy(softcap: float | None) -> None:
    problem = random_problem(4, 3, 9, torch.float64, bias=True).leaf()

    def entropy(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, ...]:
        out = token_logprobs(hidden, weight, problem.targets_N, bias=bias, softcap=softcap, return_entropy="grad")
        return out.entropy_N, out.logp_N

    assert torch.autograd.gradcheck(entropy, tuple(problem.given))


def test_a_forbidden_token_leaves_scores_and_gradients_as_if_it_were_not_there() -> None:
    problem = random_problem(5, 3, 12, torch.float64, bias=True)
    kept = torch.tensor([0, 1, 2, 3, 4, 6, 7, 9, 10])
    bias_V = torch.full((12,), -torch.inf, dtype=torch.float64)
    bias_V[kept] = problem.bias_V[kept]
    found = []
    for weight, bias, targets in (
        (problem.weight_VD, bias_V, kept[torch.arange(5)]),
        (problem.weight_VD[kept], problem.bias_V[kept], torch.arange(5)),
    ):
        hidden, weight = problem.hidden_ND.clone().requires_grad_(), weight.clone().requires_grad_()
        scores = token_logprobs(hidden, weight, targets, bias=bias, return_entropy="grad", return_lse=True)
        loss = scores.logp_N.sum() + scores.entropy_N.square().sum() + scores.lse_N.sum()
        found.append((loss.detach(), *torch.autograd.grad(loss, [hidden, weight])))
    (loss, hidden, weight), (true_loss, true_hidden, true_weight) = found
    assert abs(loss - true_loss) <= 1e-12
    assert distance(hidden, true_hidden) <= 1e-12
    assert distance(weight[kept], true_weight) <= 1e-12
    assert not weight[[5, 8, 11]].any()


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("depth", [60.0, -60.0, -150.0])
def test_gradients_at_certain_and_hopeless_targets(plan: str, depth: float) -> None:
    z_NV = torch.randn(4, 64)
    z_NV[:2, 7] = depth
    problem = problem_of_logits(z_NV, torch.full((4,), 7))
    upstream = torch.tensor([1.0, -2.0, 0.5, 0.0])
    for got, expected in zip(gradients(problem, plan, upstream), true_gradients(problem, upstream), strict=False):
        assert got.isfinite().all()
        assert distance(got, expected) <= 1e-5


def test_a_metric_entropy_carries_no_gradient() -> None:
    problem = random_problem(4, 3, 9).leaf()
    scores = token_logprobs(*problem.leaves[:2], problem.targets_N, return_entropy=True)
    assert not scores.entropy_N.requires_grad


@pytest.mark.parametrize("plan", ["recompute", "cache"])
@pytest.mark.parametrize("which", ["hidden", "weight", "bias"])
def test_only_what_needs_a_gradient_gets_one(plan: str, which: str) -> None:
    problem = random_problem(20, 6, 77, bias=True).leaf()
    leaves = dict(zip(("hidden", "weight", "bias"), problem.leaves, strict=True))
    for name, leaf in leaves.items():
        leaf.requires_grad_(name == which)
    token_logprobs(*problem.leaves[:2], problem.targets_N, bias=problem.bias_V, plan=plan).logp_N.sum().backward()
    expected = true_gradients(problem, torch.ones(20))
    for (name, leaf), true in zip(leaves.items(), expected, strict=True):
        if name == which:
            assert distance(leaf.grad, true) <= 1e-5
        else:
            assert leaf.grad is None


@pytest.mark.parametrize("plan", PLANS)
def test_strided_upstream_gradients_are_read_right(plan: str) -> None:
    problem = random_problem(30, 5, 60)
    spread = torch.randn(90)
    leaf = problem.leaf()
    if plan == "frozen":
        leaf.weight_VD.requires_grad_(False)
    logp = token_logprobs(*leaf.leaves[:2], leaf.targets_N, plan=plan).logp_N
    logp.backward(spread[::3])
    assert distance(leaf.hidden_ND.grad, true_gradients(problem, spread[::3].clone())[0]) <= 1e-5
    constant = problem.leaf()
    token_logprobs(*constant.leaves[:2], problem.targets_N).logp_N.sum().backward()  # an expanded, stride-0 gradient
    assert distance(constant.weight_VD.grad, true_gradients(problem, torch.ones(30))[1]) <= 1e-5


def test_padding_rows_of_the_head_get_zero_gradient() -> None:
    problem = random_problem(12, 5, 60)
    problem = Problem(problem.hidden_ND, problem.weight_VD, problem.targets_N % 50, valid_vocab=50).leaf()
    token_logprobs(*problem.leaves[:2], problem.targets_N, valid_vocab=50).logp_N.sum().backward()
    assert not problem.weight_VD.grad[50:].any()
    assert problem.weight_VD.grad[:50].any()


@pytest.mark.parametrize("plan", ["recompute", "cache"])
def test_repeated_backwards_agree_bit_for_bit(plan: str) -> None:
    problem = random_problem(64, 16, 900, torch.bfloat16)
    upstream = torch.randn(64)
    first, second = (gradients(problem, plan, upstream) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_logit_map_orders_scale_cap_and_temperature() -> None:
    """By hand: raw 2, scale 3, cap 4, temperature 0.5: 4 tanh(6 / 4) / 0.5 = 7.2412."""
    one = LogitMap(scale=3.0, softcap=4.0, temperature=0.5).apply(torch.tensor(2.0))
    assert abs(float(one) - 7.2412) < 1e-4


def test_a_named_plan_that_cannot_serve_says_why() -> None:
    problem = random_problem(4, 3, 9).leaf()
    inputs = (*problem.leaves[:2], problem.targets_N)
    for plan, reason in (("score", "keeps nothing"), ("frozen", "gives no gradient to the head")):
        with pytest.raises(ValueError, match=reason):
            token_logprobs(*inputs, plan=plan)
    with pytest.raises(ValueError, match="does not fit"):
        token_logprobs(*inputs, plan="cache", budget_bytes=10)


def test_reference_is_the_textbook() -> None:
    """By hand: logits (0, log 3): p = (1/4, 3/4); entropy = 0.5623 nats."""
    scores = reference_token_logprobs(torch.ones(1, 1), torch.zeros(2, 1), torch.tensor([0]))
    assert abs(float(scores.logp_N) + 0.6931) < 1e-4
    scores = reference_token_logprobs(torch.ones(1, 1), torch.tensor([[0.0], [1.0986123]]), torch.tensor([1]))
    assert abs(float(scores.logp_N.exp()) - 0.75) < 1e-6
    assert abs(float(scores.entropy_N) - 0.5623) < 1e-4


def test_scale_cap_temperature_bias_and_entropy_mean_what_they_mean_in_trl() -> None:
    """An implementation of other people: same order of the logit map, same scores, same gradients."""
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction

    problem = random_problem(23, 8, 101, bias=True).leaf()
    theirs = ChunkedLogProbFunction.apply(*problem.leaves, problem.targets_N, 0.7, 64, 5.0, 1.3, ("entropy",))
    ours = token_logprobs(
        *problem.leaves[:2], problem.targets_N, bias=problem.bias_V, temperature=0.7, softcap=5.0, logit_scale=1.3,
        return_entropy=True,
    )  # fmt: skip
    assert torch.allclose(ours.logp_N, theirs[0], atol=1e-5)
    assert torch.allclose(ours.entropy_N, theirs[1], atol=1e-5)
    upstream = torch.randn(23, generator=torch.Generator().manual_seed(1))
    for a, b in zip(
        torch.autograd.grad((ours.logp_N * upstream).sum(), problem.given),
        torch.autograd.grad((theirs[0] * upstream).sum(), problem.given),
        strict=True,
    ):
        assert distance(a, b) <= 1e-5
