"""What only a GPU can show: bfloat16 products as they are, sizes beyond 2^31, CUDA graphs."""

from __future__ import annotations

import pytest
import torch

from cai.kernels import failures, token_logprobs
from tests.kernels.problems import LOGP_ERROR, Problem, distance, random_problem, truth_of

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def on_gpu(n: int, depth: int, vocab: int, dtype: torch.dtype = torch.bfloat16) -> Problem:
    problem = random_problem(n, depth, vocab, dtype)
    return Problem(problem.hidden_ND.cuda(), problem.weight_VD.cuda(), problem.targets_N.cuda())


@pytest.mark.parametrize("engine", ["triton", "cublas"])
@pytest.mark.parametrize("depth", [896, 2048])
@pytest.mark.parametrize("vocab", [32003, 151936])
def test_scores_and_gradients_keep_the_budget(engine: str, depth: int, vocab: int) -> None:
    problem = on_gpu(1021, depth, vocab).leaf()
    wide = problem.double()
    expected = truth_of(wide)
    upstream = torch.randn(1021, device="cuda")
    true = torch.autograd.grad((expected.logp_N * upstream).sum(), wide.given)
    for plan in ("recompute", "cache"):
        scores = token_logprobs(*problem.leaves[:2], problem.targets_N, plan=plan, engine=engine)
        assert (scores.logp_N - expected.logp_N).abs().max() <= LOGP_ERROR
        for a, b in zip(torch.autograd.grad((scores.logp_N * upstream).sum(), problem.given), true, strict=True):
            assert distance(a, b) <= 3e-3
    assert failures() == ()


@pytest.mark.parametrize("engine", ["triton", "cublas"])
def test_a_row_scores_the_same_bit_for_bit(engine: str) -> None:
    problem = on_gpu(8191, 1024, 32003)
    inputs = (problem.hidden_ND, problem.weight_VD, problem.targets_N)
    first, second = (token_logprobs(*inputs, engine=engine).logp_N for _ in range(2))
    assert torch.equal(first, second)
    if engine == "triton":
        some = torch.randperm(8191, device="cuda")[:777]
        part = token_logprobs(
            problem.hidden_ND, problem.weight_VD, problem.targets_N[some], row_index=some, engine=engine
        )
        assert torch.equal(part.logp_N, first[some])


@pytest.mark.parametrize("plan", ["recompute", "cache"])
def test_more_than_two_to_the_31_logits(plan: str) -> None:
    problem = on_gpu(65536, 64, 40000).leaf()
    assert 65536 * 40000 > 2**31
    scores = token_logprobs(*problem.leaves[:2], problem.targets_N, plan=plan, budget_bytes=8 << 30)
    last = slice(65536 - 64, 65536)
    part = Problem(problem.hidden_ND[last].detach(), problem.weight_VD.detach(), problem.targets_N[last])
    wide = part.double()
    expected = truth_of(wide).logp_N
    assert (scores.logp_N[last] - expected).abs().max() <= LOGP_ERROR
    (grad,) = torch.autograd.grad(scores.logp_N[last].sum(), [problem.hidden_ND])
    assert distance(grad[last], torch.autograd.grad(expected.sum(), [wide.hidden_ND])[0]) <= 3e-3


def test_recorded_in_a_cuda_graph_it_replays() -> None:
    problem = on_gpu(300, 256, 5003)
    inputs = (problem.hidden_ND, problem.weight_VD, problem.targets_N)
    expected = token_logprobs(*inputs, engine="triton").logp_N
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = token_logprobs(*inputs, engine="triton").logp_N
    recorded.fill_(torch.nan)
    graph.replay()
    assert torch.equal(recorded, expected)


def test_an_id_outside_the_vocabulary_gives_nan_not_garbage() -> None:
    problem = on_gpu(4, 64, 1000)
    problem.targets_N[1], problem.targets_N[2] = 1000, -100
    scores = token_logprobs(problem.hidden_ND, problem.weight_VD, problem.targets_N, engine="triton")
    assert scores.logp_N.isnan().tolist() == [False, True, True, False]
