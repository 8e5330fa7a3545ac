"""The op inside what training wraps around it: compile, autocast, checkpointing, data parallel, sharding."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils.checkpoint import checkpoint

from cai.kernels import token_logprobs
from cai.kernels.candidate_ops import candidate_logits_op
from cai.kernels.ops import token_scores
from cai.kernels.segments import segment_sums
from tests.kernels.problems import Problem, distance, random_problem

SETTINGS = (1.3, 5.0, 0.7)  # logit scale, soft-cap, temperature


@pytest.mark.parametrize(("plan", "rows"), [("score", 0), ("recompute", 0), ("cache", 3), ("frozen", 0)])
def test_token_scores_passes_the_checks_for_custom_ops(plan: str, rows: int) -> None:
    problem = random_problem(9, 6, 40, bias=True).leaf()
    for leaf in problem.given[1:]:
        leaf.requires_grad_(plan in ("recompute", "cache"))
    problem.hidden_ND.requires_grad_(plan != "score")
    row_index = torch.tensor([0, 0, 3, 8])
    arguments = (*problem.leaves, problem.targets_N[:4], row_index, *SETTINGS, 39, True, plan, rows, "torch", 4096)
    torch.library.opcheck(token_scores, (*arguments[:2], problem.bias_V, *arguments[3:]))


def test_the_small_ops_pass_the_checks_for_custom_ops() -> None:
    problem = random_problem(5, 6, 40, bias=True).leaf()
    ids = torch.tensor([[1, 2], [3, 3], [0, 39]])
    row_index = torch.tensor([0, 0, 4])
    torch.library.opcheck(candidate_logits_op, (*problem.leaves, ids, row_index, *SETTINGS, 40, "torch"))
    torch.library.opcheck(segment_sums, (torch.randn(5, requires_grad=True), torch.tensor([1, 1, 4])))


def everything(problem: Problem) -> torch.Tensor:
    scores = token_logprobs(
        problem.hidden_ND, problem.weight_VD, problem.targets_N, bias=problem.bias_V, softcap=5.0,
        return_entropy="grad", return_lse=True, cu_seqlens=torch.tensor([0, 4, problem.targets_N.shape[0]]),
    )  # fmt: skip
    return scores.logp_N.sum() + scores.entropy_N.sum() + (scores.lse_N**2).mean() + scores.sum_S.square().sum()


def grads_of(loss: torch.Tensor, problem: Problem) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(loss, problem.given)


def test_compiled_as_one_graph_it_gives_the_same_numbers() -> None:
    problem = random_problem(12, 6, 50, bias=True).leaf()
    compiled = torch.compile(everything, fullgraph=True, backend="aot_eager")
    eager_loss, compiled_loss = everything(problem), compiled(problem)
    assert torch.equal(eager_loss, compiled_loss)
    for a, b in zip(grads_of(eager_loss, problem), grads_of(compiled_loss, problem), strict=True):
        assert torch.equal(a, b)


def test_compiled_for_any_number_of_tokens_it_compiles_once() -> None:
    counts = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(
        lambda h, w, y: token_logprobs(h, w, y).logp_N, backend=counts, dynamic=True, fullgraph=True
    )
    compiled(torch.randn(5, 6, requires_grad=True), torch.randn(50, 6, requires_grad=True), torch.arange(5))
    once = counts.frame_count
    for n in (7, 12, 30):
        problem = random_problem(n, 6, 50).leaf()
        expected = token_logprobs(*problem.leaves[:2], problem.targets_N).logp_N
        assert torch.equal(compiled(*problem.leaves[:2], problem.targets_N), expected)
    assert counts.frame_count == once


def test_autocast_casts_as_linear_does_and_keeps_float32_scores() -> None:
    problem = random_problem(12, 16, 50).leaf()
    with torch.autocast("cpu", torch.bfloat16):
        scores = token_logprobs(*problem.leaves[:2], problem.targets_N)
    rounded = Problem(problem.hidden_ND.bfloat16(), problem.weight_VD.bfloat16(), problem.targets_N)
    expected = token_logprobs(rounded.hidden_ND, rounded.weight_VD, rounded.targets_N)
    assert scores.logp_N.dtype == torch.float32
    assert torch.equal(scores.logp_N, expected.logp_N)
    scores.logp_N.sum().backward()
    assert problem.weight_VD.grad.dtype == torch.float32


def test_backward_under_autocast_is_not_rounded() -> None:
    problem = random_problem(12, 16, 50).leaf()
    loss = everything(problem)
    expected = torch.autograd.grad(loss, problem.given, retain_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        got = torch.autograd.grad(loss, problem.given)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_gives_the_same_gradients(reentrant: bool) -> None:
    problem = random_problem(12, 6, 50).leaf()

    def scores(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return token_logprobs(hidden, weight, problem.targets_N).logp_N

    plain = torch.autograd.grad(scores(*problem.leaves[:2]).sum(), problem.given)
    checkpoint(scores, *problem.leaves[:2], use_reentrant=reentrant).sum().backward()
    assert torch.equal(problem.hidden_ND.grad, plain[0])
    assert torch.equal(problem.weight_VD.grad, plain[1])


class Head(nn.Module):
    """A head that scores in its own forward, where a wrapper has gathered its weight."""

    def __init__(self, weight_VD: torch.Tensor) -> None:
        super().__init__()
        self.body = nn.Linear(weight_VD.shape[1], weight_VD.shape[1], dtype=weight_VD.dtype)
        nn.init.eye_(self.body.weight)
        nn.init.zeros_(self.body.bias)
        self.weight = nn.Parameter(weight_VD.clone())

    def forward(self, hidden_ND: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        return token_logprobs(self.body(hidden_ND), self.weight, targets_N).logp_N


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_data_parallel_and_sharded_heads_give_the_plain_gradient() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    problem = random_problem(12, 6, 50)
    plain, parallel, sharded = (Head(problem.weight_VD) for _ in range(3))
    wrapped = nn.parallel.DistributedDataParallel(parallel)
    fully_shard(sharded, mesh=init_device_mesh("cpu", (1,)))
    for module in (plain, wrapped, sharded):
        module(problem.hidden_ND, problem.targets_N).mean().backward()
    assert torch.equal(parallel.weight.grad, plain.weight.grad)
    assert torch.equal(sharded.weight.grad.full_tensor(), plain.weight.grad)
    with pytest.raises(ValueError, match="score inside the forward of the module that owns the head"):
        token_logprobs(problem.hidden_ND, sharded.weight, problem.targets_N)


def _shard_on(rank: int, world: int, meeting: str, expected: torch.Tensor) -> None:
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    problem = random_problem(12, 6, 50)
    sharded = Head(problem.weight_VD)
    fully_shard(sharded, mesh=init_device_mesh("cpu", (world,)))
    mine = slice(6 * rank, 6 * rank + 6)
    sharded(problem.hidden_ND[mine], problem.targets_N[mine]).mean().backward()
    assert distance(sharded.weight.grad.full_tensor(), expected) <= 1e-5
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_sharded_processes_give_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    problem = random_problem(12, 6, 50)
    plain = Head(problem.weight_VD)
    plain(problem.hidden_ND, problem.targets_N).mean().backward()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.multiprocessing.spawn(_shard_on, (2, str(tmp_path / "meet"), plain.weight.grad), nprocs=2)
