"""Tokens drawn from logits: the right distribution, log-probs of what was drawn from, rows on their own."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from cai.engine.batching.sampling import draw_tokens


def draw(
    logits: torch.Tensor, temperature: float, top_p: float, uniform: torch.Tensor
) -> tuple[list[int], list[float]]:
    rows = uniform.shape[0]
    tokens, logprobs = draw_tokens(
        logits.expand(rows, -1),
        torch.full((rows,), temperature, dtype=torch.float64),
        torch.full((rows,), top_p, dtype=torch.float64),
        uniform,
    )
    return tokens.tolist(), logprobs.tolist()


LOGITS = torch.tensor([[1.0, -0.5, 2.0, 0.3, -3.0]])


def test_draws_follow_the_softmax_at_the_temperature() -> None:
    uniform = torch.from_numpy(np.random.Generator(np.random.Philox(key=1)).random(20_000))
    tokens, logprobs = draw(LOGITS, 0.8, 1.0, uniform)
    expected = torch.softmax(LOGITS[0].double() / 0.8, -1)
    counts = np.bincount(tokens, minlength=5)
    assert chisquare(counts, expected.numpy() * len(tokens)).pvalue > 1e-3
    assert np.allclose(logprobs, expected.log()[tokens].numpy())


def test_top_p_keeps_the_fewest_tokens_that_hold_it() -> None:
    """Softmax of LOGITS is about .21 .05 .57 .10 .004 (sum of the two largest .78): at .75 tokens 0 and 2 stay."""
    uniform = torch.linspace(0, 1, 4001, dtype=torch.float64)[:-1]
    tokens, logprobs = draw(LOGITS, 1.0, 0.75, uniform)
    assert set(tokens) == {0, 2}
    assert np.isclose(sum(np.exp(logprob) for logprob in {*logprobs}), 1.0)
    only, _ = draw(LOGITS, 1.0, 0.01, uniform[:50])
    assert set(only) == {2}


def test_temperature_zero_takes_the_first_of_the_likeliest() -> None:
    tied = torch.tensor([[0.0, 3.0, 3.0, 1.0]])
    tokens, logprobs = draw(tied, 0.0, 0.5, torch.tensor([0.99], dtype=torch.float64))
    assert tokens == [1]
    assert np.isclose(logprobs[0], torch.log_softmax(tied[0].double(), -1)[1].item())


def test_the_ends_of_the_unit_interval_are_tokens_that_can_be_drawn() -> None:
    logits = torch.tensor([[float("-inf"), 0.0, 0.0, float("-inf")]])
    ends = torch.tensor([0.0, 1.0 - 2**-53, 1.0], dtype=torch.float64)
    assert draw(logits, 1.0, 1.0, ends)[0] == [1, 2, 2]


@given(st.integers(1, 9), st.integers(2, 70), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_a_row_is_drawn_alike_alone_and_among_others(rows: int, vocabulary: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, vocabulary, generator=generator) * 3
    uniform = torch.rand(rows, generator=generator, dtype=torch.float64)
    temperature = torch.tensor([(0.0, 0.7, 1.0)[at % 3] for at in range(rows)], dtype=torch.float64)
    top_p = torch.tensor([(1.0, 0.8)[at % 2] for at in range(rows)], dtype=torch.float64)
    tokens, logprobs = draw_tokens(logits, temperature, top_p, uniform)
    for at in range(rows):
        one = slice(at, at + 1)
        token, logprob = draw_tokens(logits[one], temperature[one], top_p[one], uniform[one])
        assert token[0] == tokens[at]
        assert logprob[0] == logprobs[at]
