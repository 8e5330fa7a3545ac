"""Plans, engine choice, self-check and the table of tile shapes: the decisions around the kernels."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cai.kernels import engine_choice, engines, self_check, token_logprobs
from cai.kernels.batch import HeadBatch
from cai.kernels.fold import Engine, Fold, FoldSums
from cai.kernels.fold_torch import fold_torch
from cai.kernels.logit_map import LogitMap
from cai.kernels.planner import Plan, Problem, choose_plan, choose_tiles
from cai.kernels.target_logits import candidate_logits
from cai.kernels.tuned import _entries

GB = 1 << 30


def head(n: int, **changes: object) -> Problem:
    """A Llama-3-8B head on a GPU."""
    values: dict[str, object] = {
        "n": n, "hidden": 4096, "vocab": 128256, "dtype": torch.bfloat16, "native": True,
        "needs_hidden": True, "needs_head": True,
    }  # fmt: skip
    return Problem(**(values | changes))


@pytest.mark.parametrize(
    ("problem", "plan"),
    [
        (head(8192), Plan("cache", 8192)),  # 2 * 8192 * 128256 bytes = 2.0 GB fit 4 GB
        (head(32768), Plan("cache", 16640)),  # a half: 4 GiB hold 16,744 rows of 256,512 bytes, in steps of 128
        (head(131072), Plan("recompute")),  # an eighth is not worth it
        (head(131072, needs_head=False), Plan("frozen")),
        (head(8192, needs_head=False, needs_hidden=False), Plan("score")),
        (head(8192, needs_entropy_grad=True), Plan("recompute")),
        (head(8192, dtype=torch.float16), Plan("recompute")),
        (head(8192, dtype=torch.float16, needs_head=False), Plan("recompute")),
        (head(8192, dtype=torch.float16, needs_head=False, native=False), Plan("frozen")),
    ],
)
def test_the_plan_with_the_fewest_products_that_fits(problem: Problem, plan: Plan) -> None:
    assert choose_plan(problem, 4 * GB) == plan


@pytest.mark.parametrize("budget", [1 << 12, 1 << 20, 64 << 20, GB])
@pytest.mark.parametrize(("n", "vocab"), [(1, 2), (4096, 32768), (65536, 256000)])
def test_tiles_stay_within_the_budget(n: int, vocab: int, budget: int) -> None:
    tiles = choose_tiles(n, vocab, torch.bfloat16, on_gpu=False, native=False, budget_bytes=budget)
    assert tiles.rows * tiles.columns * 4 <= budget
    big = choose_tiles(n, vocab, torch.bfloat16, on_gpu=True, native=True, budget_bytes=max(budget, 1 << 20))
    assert big.rows * big.columns * 2 <= max(budget, 1 << 20)
    assert big.columns % 128 == 0 or big.columns == -(-vocab // 8) * 8


def test_the_table_of_tile_shapes_is_sound() -> None:
    for entry in _entries():
        config = entry.config
        assert config.rows % 32 == config.columns % 64 == 0
        operands = (config.rows + config.columns) * config.depth * entry.size * config.stages
        assert operands <= 227 * 1024  # shared memory of one block; smaller cards get smaller entries


def small_batch() -> HeadBatch:
    return HeadBatch(torch.randn(4, 8), torch.randn(30, 8), None, torch.arange(4), LogitMap())


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No verdicts and no choices from before; the choice file is a fresh one."""
    monkeypatch.setattr(self_check, "_verdicts", {})
    monkeypatch.setattr(engine_choice, "_remembered", {})
    monkeypatch.setenv("CAI_KERNELS_CACHE", str(tmp_path / "deep" / "kernels.json"))
    return tmp_path / "deep" / "kernels.json"


def wrong(*args: object, **kwargs: object) -> FoldSums:
    """An engine that forgets to leave the target out: a mistake of one part in a thousand."""
    sums = fold_torch(*args, **kwargs)
    return FoldSums(sums.sum_N * 1.001, sums.moment_N)


def overrunning(batch: HeadBatch, first: int, last: int, shift_N: torch.Tensor, **kwargs: object) -> FoldSums:
    """An engine that writes one column beyond its tile."""
    store_NC = kwargs["store_NC"]
    sums = fold_torch(batch, first, last, shift_N, **kwargs)
    torch.as_strided(store_NC, (batch.n, 1), store_NC.stride(), store_NC.storage_offset() + last - first).fill_(0)
    return sums


def engine_of(fold: Fold = fold_torch, **changes: object) -> Engine:
    """Plain torch with a part exchanged."""
    return replace(engines.TORCH, name="odd", fold=fold, **changes)


def blind_dots(batch: HeadBatch, ids_NK: torch.Tensor) -> torch.Tensor:
    """Gathered products that never look whether a token exists."""
    return candidate_logits(batch, ids_NK.clamp(0, batch.vocab - 1))


def unscaled(rows_ND: torch.Tensor, scale_N: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return rows_ND.to(dtype)


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
def test_a_sound_engine_passes_its_check_silently(dtype: torch.dtype, scale: float) -> None:
    """Whatever the logit map: wide logits once overflowed the float16 tile of the check itself."""
    batch = HeadBatch(torch.randn(4, 8).to(dtype), torch.randn(30, 8).to(dtype), None, torch.arange(4), LogitMap(scale))
    assert self_check.passes(engine_of(), batch)
    assert self_check.failures() == ()


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        (engine_of(wrong), "gives wrong sums"),
        (engine_of(overrunning), "writes beyond its tile"),
        (engine_of(dots=blind_dots), "gives wrong target logits"),
        (engine_of(scale=unscaled), "scales rows wrongly"),
    ],
)
def test_an_engine_that_disagrees_is_refused_loudly_and_once(engine: Engine, reason: str) -> None:
    with pytest.warns(RuntimeWarning, match=f"engine 'odd'.*{reason}.*plain torch is used instead"):
        assert not self_check.passes(engine, small_batch())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not self_check.passes(engine, small_batch())
    assert len(self_check.failures()) == 1
    assert reason in self_check.failures()[0]


@pytest.mark.usefixtures("forgotten")
def test_scores_come_from_plain_torch_where_an_engine_fails_its_check(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setattr(engines, "_triton_engines", lambda: {"triton": engine_of(wrong)})
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    hidden, weight, targets = torch.randn(4, 8), torch.randn(30, 8), torch.arange(4)
    with pytest.warns(RuntimeWarning, match="plain torch is used instead"):
        scores = token_logprobs(hidden, weight, targets, engine="triton")
    assert torch.equal(scores.logp_N, token_logprobs(hidden, weight, targets, engine="torch").logp_N)


@pytest.mark.usefixtures("forgotten")
def test_strictness_turns_the_warning_into_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_KERNELS_STRICT", "1")
    with pytest.raises(self_check.KernelCheckError, match="gives wrong sums"):
        self_check.passes(engine_of(wrong), small_batch())


def test_engines_are_timed_on_many_rows_even_when_first_asked_for_one() -> None:
    rows: list[int] = []

    def counting(batch: HeadBatch, *args: object, **kwargs: object) -> FoldSums:
        rows.append(batch.n)
        return FoldSums(batch.new_wide(batch.n), batch.new_wide(0))

    engine_choice.measure(counting, small_batch().rows(0, 1))
    assert set(rows) == {2048}


def test_the_faster_engine_is_measured_once_and_remembered(forgotten: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    calls: list[str] = []

    def quick(*args: object, **kwargs: object) -> FoldSums:
        calls.append("quick")
        return fold_torch(*args, **kwargs)

    def slow(*args: object, **kwargs: object) -> FoldSums:
        calls.append("slow")
        for _ in range(20):
            sums = fold_torch(*args, **kwargs)
        return sums

    folds = {"slow": slow, "quick": quick}
    assert engine_choice.fastest(folds, small_batch()) == "quick"
    assert list(json.loads(forgotten.read_text()).values()) == ["quick"]
    before = len(calls)
    monkeypatch.setattr(engine_choice, "_remembered", {})  # as in another process
    assert engine_choice.fastest(folds, small_batch()) == "quick"
    assert len(calls) == before


def test_an_unreadable_choice_file_is_said_and_replaced(forgotten: Path) -> None:
    pytest.importorskip("triton")
    forgotten.parent.mkdir()
    forgotten.write_text("{half")
    with pytest.warns(RuntimeWarning, match="engine choices unreadable"):
        engine_choice.fastest({"a": fold_torch, "b": fold_torch}, small_batch())
    assert json.loads(forgotten.read_text())


def test_the_package_imports_and_scores_without_triton() -> None:
    program = (
        "import sys; sys.modules['triton'] = None; import torch; from cai.kernels import token_logprobs;"
        "print(token_logprobs(torch.ones(1, 2), torch.ones(4, 2), torch.tensor([0])).logp_N.exp().item());"
        "print([name for name in sys.modules if name.startswith('cai.') and not name.startswith('cai.kernels')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    p, others = done.stdout.splitlines()
    assert abs(float(p) - 0.25) < 1e-6
    assert others == "[]"
