"""Parts of the continuous batch: row counts, slots, remembered prefixes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cai.engine.batching.pointwise import RotaryTable, WholeShares
from cai.engine.batching.prefixes import CHUNK, ROOT, Prefixes
from cai.engine.batching.rows import ROW_COUNTS, RowLinear, cut_rows, equal_row_counts
from cai.engine.batching.slots import BLOCK, Slots


@pytest.mark.parametrize(("inner", "outer", "bias"), [(64, 160, False), (192, 512, True), (100, 37, True)])
def test_a_row_has_the_same_bits_at_every_row_count(inner: int, outer: int, bias: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    linear = nn.Linear(inner, outer, bias=bias)
    rows = torch.randn(300, inner, generator=generator)
    own = RowLinear(linear, equal_row_counts(linear.weight.detach()))
    whole = own(rows)
    torch.testing.assert_close(whole, linear(rows).detach(), atol=1e-5, rtol=1e-5)
    for start, stop in [(0, 1), (5, 12), (0, 33), (17, 80), (299, 300), (100, 229), (7, 7)]:
        assert torch.equal(own(rows[start:stop]), whole[start:stop])
    assert own(rows.view(3, 100, inner)).shape == (3, 100, outer)


@given(st.integers(0, 2000), st.sets(st.sampled_from(ROW_COUNTS), min_size=1))
def test_rows_are_cut_into_allowed_counts_and_only_the_last_is_padded(total: int, counts: set[int]) -> None:
    sizes = cut_rows(total, tuple(sorted(counts)))
    assert set(sizes) <= counts
    assert sum(sizes) >= total
    assert sum(sizes[:-1]) < total or not sizes


def slots(budget_tokens: int, most: int = 4) -> Slots:
    made = Slots(2, 3, 8, dtype=torch.float32, device=torch.device("cpu"), most=most, budget=10**9)
    return Slots(
        2,
        3,
        8,
        dtype=torch.float32,
        device=torch.device("cpu"),
        most=most,
        budget=budget_tokens * made.bytes_per_token,
    )


def test_slots_grow_within_the_budget_and_keep_what_they_hold() -> None:
    pool = slots(budget_tokens=4 * 2 * BLOCK)
    first = pool.take(10)
    assert first is not None
    keys, values = torch.randn(2, 3, 8, 5), torch.randn(2, 3, 5, 8)
    pool.write(first, 3, [keys], [values])
    second = pool.take(BLOCK + 1)
    assert (pool.count, pool.length) == (4, 2 * BLOCK)
    assert {first, second} == {0, 1}
    assert all(torch.equal(got, put) for got, put in zip(pool.read(first, 3, 8), (keys, values), strict=True))
    assert pool.take(3 * BLOCK) is None
    assert not pool.can_ever_hold(8 * BLOCK + 1)
    assert [pool.take(1), pool.take(1), pool.take(1)] == [2, 3, None]
    pool.give(1)
    assert pool.take(1) == 1


def test_fewer_slots_are_made_where_long_ones_fill_the_budget() -> None:
    pool = slots(budget_tokens=2 * 8 * BLOCK)
    assert [pool.take(8 * BLOCK), pool.take(8 * BLOCK), pool.take(8 * BLOCK)] == [0, 1, None]


def test_a_prefix_is_known_by_everything_before_it() -> None:
    store = Prefixes()
    kv = (torch.ones(1, 1, 8, CHUNK), torch.ones(1, 1, CHUNK, 8))
    one, other = range(CHUNK), range(CHUNK, 2 * CHUNK)
    first = store.add(ROOT, one, *kv)
    store.add(first, other, *kv)
    assert store.find(ROOT, other) is None
    assert store.find(first, other) is not None
    assert store.add(ROOT, one, *kv) == first
    held = store.bytes
    assert held == 2 * 2 * 8 * CHUNK * 4
    store.touch([(ROOT, tuple(one)), (first, tuple(other))])
    store.shrink(held - 1)
    assert store.find(ROOT, one) is not None
    assert store.find(first, other) is None
    store.clear()
    assert (store.find(ROOT, one), store.bytes) == (None, 0)


def test_the_start_of_a_piece_is_found_where_its_end_differs() -> None:
    store = Prefixes()
    keys = torch.arange(CHUNK).expand(1, 1, 8, CHUNK).float()
    first = store.add(ROOT, range(CHUNK), keys, keys.mT)
    assert store.nearest(first, range(CHUNK)) is None
    assert store.nearest(ROOT, (7, 8, 9)) is None
    found = store.nearest(ROOT, (0, 1, 2, 99, 4))
    assert found is not None
    assert (found[0], torch.equal(found[1], keys)) == (3, True)
    store.add(ROOT, (0, 1, 2, 99, 98, *range(5, CHUNK)), keys, keys.mT)
    assert (store.nearest(ROOT, (0, 1, 2, 99, 98)) or [0])[0] == 5
    assert (store.nearest(ROOT, (0, 1, 2, 3, 98)) or [0])[0] == 4
    store.shrink(0)
    assert store.nearest(ROOT, (0, 1, 2)) is None


@pytest.mark.parametrize("activation", [nn.SiLU(), nn.GELU(), nn.Tanh()])
def test_an_activation_does_not_depend_on_a_numbers_place(activation: nn.Module) -> None:
    own = WholeShares(activation)
    x = torch.randn(700, 161, generator=torch.Generator().manual_seed(2))
    whole = own(x)
    torch.testing.assert_close(whole, activation(x), atol=1e-6, rtol=1e-6)
    for start, stop in [(0, 1), (3, 4), (0, 341), (11, 500), (699, 700)]:
        assert torch.equal(own(x[start:stop]), whole[start:stop])


def test_rotary_angles_are_looked_up_by_position() -> None:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    rotary = LlamaRotaryEmbedding(LlamaConfig(hidden_size=64, num_attention_heads=4))
    x, positions = torch.zeros(1, 5, 64), torch.tensor([[0, 3, 1023, 1024, 2600]])
    for own, plain in zip(RotaryTable(rotary)(x, positions), rotary(x, positions), strict=True):
        torch.testing.assert_close(own, plain)
