"""Which plan, how much of it fits the byte budget, and the tiles it walks. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from cai.kernels.batch import wide_dtype
from cai.kernels.forward import Tiles

PlanName = Literal["auto", "score", "recompute", "cache", "frozen"]
PLANS: tuple[str, ...] = get_args(PlanName)

CPU_BUDGET = 64 << 20
GPU_BUDGET = 4 << 30
_GPU_BUFFER = 512 << 20  # one tile of E; more buys nothing once each product fills the device
_CPU_TILE = (512, 4096)
_ROW_STEP = 128
_COLUMN_STEP = 128
_WORTH_CACHING = 0.25  # of the rows; below that the saved product does not pay for the memory


@dataclass(frozen=True, slots=True)
class Plan:
    """`cached_rows` is 0 but for the cache plan, where the remaining rows are recomputed."""

    name: str
    cached_rows: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """What the planner has to know."""

    n: int
    hidden: int
    vocab: int
    dtype: torch.dtype
    native: bool  # tiles are kept in the inputs' dtype: on a GPU, and with a Triton engine anywhere
    needs_hidden: bool
    needs_head: bool
    needs_entropy_grad: bool = False


def padded(vocab: int) -> int:
    """Columns of a cached row: rows start at multiples of 16 bytes, or products on a GPU lose half their speed."""
    return -(-vocab // 8) * 8


def default_budget(device: torch.device) -> int:
    """4 GiB or a quarter of what is free on a GPU, whichever is less; 64 MiB on a CPU."""
    if device.type != "cuda":
        return CPU_BUDGET
    if torch.compiler.is_compiling() or torch.cuda.is_current_stream_capturing():
        return GPU_BUDGET
    return min(GPU_BUDGET, torch.cuda.mem_get_info(device)[0] // 4)


def choose_plan(problem: Problem, budget_bytes: int) -> Plan:
    """The fewest head products that fit."""
    if not (problem.needs_hidden or problem.needs_head):
        return Plan("score")
    if problem.needs_entropy_grad:
        return Plan("recompute")
    if not problem.needs_head and may_keep_numerators(problem):
        return Plan("frozen")
    rows = cached_rows(problem, budget_bytes)
    return Plan("cache", rows) if rows >= _WORTH_CACHING * problem.n and rows > 0 else Plan("recompute")


def may_keep_numerators(problem: Problem) -> bool:
    """Numerators exp(z - shift) span float32's range, which float16 lacks; plain torch on a CPU keeps them so."""
    return problem.dtype != torch.float16 or not problem.native


def cached_rows(problem: Problem, budget_bytes: int) -> int:
    """How many rows of E the budget holds: all, or a multiple of 128."""
    if problem.dtype == torch.float16:
        return 0
    fit = budget_bytes // (padded(problem.vocab) * problem.dtype.itemsize)
    return problem.n if fit >= problem.n else fit // _ROW_STEP * _ROW_STEP


def checked_plan(name: str, problem: Problem, budget_bytes: int) -> Plan:
    """The plan a caller named, or an error saying why it cannot serve this problem."""
    if name not in PLANS:
        raise ValueError(f"plan {name!r} is not one of {', '.join(PLANS)}")
    if name == "auto" or not (problem.needs_hidden or problem.needs_head):
        return choose_plan(problem, budget_bytes)
    if name == "score":
        raise ValueError("plan 'score' keeps nothing for a backward pass: use torch.no_grad() or another plan")
    if name == "frozen" and problem.needs_head:
        raise ValueError("plan 'frozen' gives no gradient to the head, which requires one: use another plan")
    if name in ("frozen", "cache") and problem.needs_entropy_grad:
        raise ValueError(f"plan {name!r} has no gradient for the entropy: use plan 'recompute'")
    if name == "cache":
        rows = cached_rows(problem, budget_bytes)
        if rows == 0 and problem.n:
            raise ValueError(f"plan 'cache' does not fit {budget_bytes} bytes in {problem.dtype}: use plan 'recompute'")
        return Plan("cache", rows)
    if name == "frozen" and not may_keep_numerators(problem):
        raise ValueError("plan 'frozen' needs float32's range, which float16 lacks: use plan 'recompute'")
    return Plan(name)


def choose_tiles(n: int, vocab: int, dtype: torch.dtype, *, on_gpu: bool, native: bool, budget_bytes: int) -> Tiles:
    """Tiles of E within the budget. `native`: products take the inputs' dtype, else tiles are wide."""
    store = dtype if native else wide_dtype(dtype)
    if on_gpu:
        rows, room = max(n, 1), min(budget_bytes, _GPU_BUFFER)
        while rows > _ROW_STEP and room // (rows * store.itemsize) < 1024:
            rows = -(-rows // 2)  # slices narrower than about a thousand columns starve the products
        columns = room // (rows * store.itemsize) // _COLUMN_STEP * _COLUMN_STEP
        return Tiles(rows, max(_COLUMN_STEP, min(columns, padded(vocab))), store)
    rows, columns = _CPU_TILE
    while rows * columns * store.itemsize > budget_bytes and columns > _COLUMN_STEP:
        columns //= 2
    while rows * columns * store.itemsize > budget_bytes and rows > 1:
        rows //= 2
    return Tiles(rows, columns, store)
