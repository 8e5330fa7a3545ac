"""Candidates, losses in the loop, and the choice of scored tokens."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cai.kernels import LossChunk, candidate_logprobs, fused_token_loss, scored_tokens, token_logprobs
from cai.kernels.token_loss import chunks
from tests.kernels.problems import distance, problem_of_logits, random_problem, truth_of


@pytest.mark.parametrize("normalise", ["vocab", "candidates"])
def test_candidates_are_scored_and_differentiated(normalise: str) -> None:
    problem = random_problem(5, 8, 60, bias=True).leaf()
    wide = problem.double()
    ids = torch.tensor([[1, 2, 3], [59, 0, 7], [7, 7, 7], [4, 5, 6], [9, 8, 1]])
    row_index = torch.tensor([0, 1, 1, 4, 3])
    got = candidate_logprobs(
        problem.hidden_ND, problem.weight_VD, ids, bias=problem.bias_V, row_index=row_index, temperature=0.6,
        softcap=5.0, normalise=normalise,
    )  # fmt: skip
    raw = wide.hidden_ND[row_index] @ wide.weight_VD.T + wide.bias_V
    z = 5.0 * torch.tanh(raw / 5.0) / 0.6
    expected = z.log_softmax(-1).gather(1, ids) if normalise == "vocab" else z.gather(1, ids).log_softmax(-1)
    assert (got - expected).abs().max() <= 5e-5
    upstream = torch.randn(5, 3)
    grads = torch.autograd.grad((got * upstream).sum(), problem.given)
    for a, b in zip(grads, torch.autograd.grad((expected * upstream).sum(), wide.given), strict=True):
        assert distance(a, b) <= 1e-4


def test_a_certain_candidate_is_never_more_than_certain() -> None:
    z_NV = torch.randn(3, 100)
    z_NV[:, 4] = 30.0
    problem = problem_of_logits(z_NV, torch.tensor([4, 4, 4]))
    got = candidate_logprobs(problem.hidden_ND, problem.weight_VD, torch.tensor([9, 4]))
    assert (got <= 0).all()
    assert torch.equal(got[:, 1], token_logprobs(problem.hidden_ND, problem.weight_VD, problem.targets_N).logp_N)


def test_forbidden_candidates_are_impossible_also_among_themselves() -> None:
    problem = random_problem(2, 4, 30, bias=True).leaf()
    bias = torch.zeros(30)
    bias[[3, 4]] = -torch.inf
    ids = torch.tensor([[3, 4, 3], [3, 5, 4]])
    got = candidate_logprobs(*problem.leaves[:2], ids, bias=bias)
    assert got.isneginf().tolist() == [[True, True, True], [True, False, True]]
    expected = token_logprobs(problem.hidden_ND[1:], problem.weight_VD, torch.tensor([5]), bias=bias).logp_N
    assert torch.equal(got[1, 1:2], expected)
    got[1, 1].backward()
    assert problem.hidden_ND.grad.isfinite().all()


@pytest.mark.parametrize(
    ("ids", "changes", "message"),
    [
        (torch.zeros(4, 2, dtype=torch.long), {}, "ids has 4 rows for 2 to score"),
        (torch.zeros(2, 0, dtype=torch.long), {}, r"ids must have shape \[K\] or \[N, K\]"),
        (torch.tensor([1, 9]), {}, "ids must lie in 0..8, got 9"),
        (torch.tensor([1, 7]), {"valid_vocab": 7}, "ids must lie in 0..6, got 7"),
        (torch.tensor([1]), {"normalise": "all"}, "normalise must be 'vocab' or 'candidates', got 'all'"),
    ],
)
def test_candidates_that_do_not_fit_are_refused(ids: torch.Tensor, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        candidate_logprobs(torch.zeros(2, 4), torch.zeros(9, 4), ids, **changes)


def test_scored_tokens_are_predicted_by_the_row_before() -> None:
    """By hand: labels (-, -, 7, 8) and (-, 5, -, 6): rows 1, 2 of the first sequence, rows 4 and 6 in the second."""
    labels = torch.tensor([[-100, -100, 7, 8], [-100, 5, -100, 6]])
    row_index, targets = scored_tokens(labels)
    assert row_index.tolist() == [1, 2, 4, 6]
    assert targets.tolist() == [7, 8, 5, 6]
    assert row_index.dtype == targets.dtype == torch.int32


def sft(chunk: LossChunk) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    loss = -(chunk.logp_N * chunk.tokens["weight"]).sum() / 40.0
    return loss, {"tokens": torch.tensor(chunk.logp_N.shape[0])}


def dpo(chunk: LossChunk) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    margin = (chunk.sum_S - chunk.sequences["reference"]).view(-1, 2)
    margin = 0.1 * (margin[:, 0] - margin[:, 1])
    return -F.logsigmoid(margin).sum() / 3.0, {"right": (margin > 0).sum()}


CU = torch.tensor([0, 7, 9, 20, 21, 38, 40])


@pytest.mark.parametrize("budget", [None, 3 * 304 * 4])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_losses_in_the_loop_equal_losses_outside(dtype: torch.dtype, frozen: bool, budget: int | None) -> None:
    problem = random_problem(50, 12, 301, dtype, bias=True)
    row_index = torch.arange(40) + 5
    targets = problem.targets_N[5:45]
    weight, reference = torch.rand(40), torch.randn(6)
    for loss, group in ((sft, 1), (dpo, 2)):
        leaf = problem.leaf()
        for tensor in leaf.given[1:]:
            tensor.requires_grad_(not frozen)
        got, metrics = fused_token_loss(
            *leaf.leaves[:2], targets, loss, cu_seqlens=CU, sequences_per_group=group, row_index=row_index,
            token_aux={"weight": weight}, sequence_aux={"reference": reference}, bias=leaf.bias_V, valid_vocab=300,
            budget_bytes=budget, temperature=0.9,
        )  # fmt: skip
        wide = leaf.double()
        scores = token_logprobs(
            wide.hidden_ND, wide.weight_VD, targets, bias=wide.bias_V, valid_vocab=300, row_index=row_index,
            temperature=0.9, cu_seqlens=CU,
        )  # fmt: skip
        whole = LossChunk(scores.logp_N, scores.sum_S, None, CU, {"weight": weight}, {"reference": reference})
        expected, expected_metrics = loss(whole)
        assert abs(float(got - expected)) <= 1e-5
        assert {name: int(value) for name, value in metrics.items()} == {
            name: int(value) for name, value in expected_metrics.items()
        }
        leaves = [tensor for tensor in leaf.given if tensor.requires_grad]
        (got * 2.5).backward()
        for tensor, true in zip(leaves, torch.autograd.grad(expected * 2.5, wide.given), strict=False):
            assert distance(tensor.grad, true) <= (1e-5 if dtype != torch.bfloat16 else 6e-3)


def test_a_loss_in_the_loop_goes_back_once() -> None:
    problem = random_problem(6, 4, 30).leaf()
    loss, _ = fused_token_loss(*problem.leaves[:2], problem.targets_N, lambda c: (c.logp_N.sum(), {}))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backward can run only once"):
        loss.backward()


def test_without_gradients_the_loss_is_only_evaluated() -> None:
    problem = random_problem(6, 4, 30)
    loss, _ = fused_token_loss(*problem.leaves[:2], problem.targets_N, lambda c: (-c.logp_N.sum(), {}))
    assert not loss.requires_grad
    assert abs(float(loss + truth_of(problem.double()).logp_N.sum())) <= 1e-4


def test_no_grad_makes_no_gradients_although_the_head_could_take_one() -> None:
    problem = random_problem(6, 4, 30).leaf()

    def loss_of(chunk: LossChunk) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        assert not chunk.logp_N.requires_grad
        return -chunk.logp_N.sum(), {}

    with torch.no_grad():
        loss, _ = fused_token_loss(*problem.leaves[:2], problem.targets_N, loss_of)
    assert not loss.requires_grad


def test_chunks_hold_whole_groups() -> None:
    """By hand: pairs of 9, 12 and 19 tokens; at most 21 fit together."""
    ends = CU.tolist()
    assert list(chunks(ends, 2, 21)) == [(0, 4), (4, 6)]
    assert list(chunks(ends, 2, 1)) == [(0, 2), (2, 4), (4, 6)]
    assert list(chunks([0], 2, 5)) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cu_seqlens": torch.tensor([0, 3])}, "must rise from 0 to the number of targets, 6"),
        ({"sequences_per_group": 4}, "6 sequences do not make whole groups of 4"),
        ({"token_aux": {"w": torch.zeros(5)}}, r"token_aux\['w'\] must have 6 rows"),
    ],
)
def test_offsets_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    problem = random_problem(6, 4, 30)
    with pytest.raises(ValueError, match=message):
        fused_token_loss(*problem.leaves[:2], problem.targets_N, lambda c: (c.logp_N.sum(), {}), **change)


def test_compiled_code_steps_around_the_loss() -> None:
    problem = random_problem(40, 4, 30).leaf()

    def train(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        aux = {"weight": torch.ones(40)}
        return fused_token_loss(hidden * 2, weight, problem.targets_N, sft, cu_seqlens=CU, token_aux=aux)[0] * 3

    eager = torch.autograd.grad(train(*problem.leaves[:2]), problem.given)
    compiled = torch.autograd.grad(torch.compile(train, backend="aot_eager")(*problem.leaves[:2]), problem.given)
    assert all(torch.equal(a, b) for a, b in zip(eager, compiled, strict=True))
