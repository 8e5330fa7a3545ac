"""Every mode's numbers, worked out by hand."""

import asyncio
import math

import pytest

from cai.engine.protocol import OptionScores, Turn
from cai.engine.scripted import ScriptedEngine
from cai.judge.modes import cot, score
from cai.judge.modes.list import read_ranking
from cai.judge.panel import Asking, Judge, ask_pair
from cai.judge.question import Question, read_options
from cai.judge.ranking import pairs_of_choice, pairs_of_ranking
from cai.judge.whole import ask_lists, ask_scores
from cai.records import Usage
from tests.judge.shown import LONGER, SHORTER, judging, letters, prompt, read, saying


def scores(*logprobs: float, bounded: tuple[bool, ...] | None = None) -> OptionScores:
    return OptionScores(logprobs, bounded or (False,) * len(logprobs), Usage(calls=1))


def test_letters_are_normalised_over_what_they_hold() -> None:
    # p(A) = 0.3, p(B) = 0.1: mass 0.4, share 0.75.
    shares, mass, raw = read_options(scores(math.log(0.3), math.log(0.1)), ("A", "B"))
    assert shares == pytest.approx((0.75, 0.25))
    assert mass == pytest.approx(0.4)
    assert raw == "A=-1.2040 B=-2.3026"


@pytest.mark.parametrize(
    "found",
    [
        scores(math.nan, -1.0),
        scores(-9.0, -9.0),  # mass 0.0002: it would have said something else
        scores(-math.inf, -math.inf),
        scores(-3.0, -3.0, bounded=(True, True)),  # neither letter is among those the server shows
    ],
)
def test_no_letter_is_no_answer(found: OptionScores) -> None:
    assert read_options(found, ("A", "B"))[0] is None


def test_one_letter_below_the_servers_top_is_bounded_not_dropped() -> None:
    shares, mass, raw = read_options(scores(math.log(0.9), math.log(0.01), bounded=(False, True)), ("A", "B"))
    assert shares == pytest.approx((0.9 / 0.91, 0.01 / 0.91))
    assert mass == pytest.approx(0.91)
    assert "B=<" in raw


def test_both_orders_speak_of_the_same_reply_and_generate_nothing() -> None:
    engine = judging(sharpness=0.5, bias=1.0)
    votes, usage = asyncio.run(ask_pair([Judge("j", engine)], [SHORTER], prompt(), "ab", "abcd", Asking()))
    # a is shorter by 2: log-odds 1 for a; the bias adds 1 for whoever is shown first.
    assert [vote.order for vote in votes] == ["ab", "ba"]
    assert votes[0].p_a == pytest.approx(1 / (1 + math.exp(-2)))
    assert votes[1].p_a == pytest.approx(0.5)
    assert usage.calls == 2


def test_an_inverted_principle_inverts_the_label() -> None:
    def p(principle: object) -> float:
        votes, _ = asyncio.run(
            ask_pair([Judge("j", judging())], [principle], prompt(), "ab", "abcdef", Asking())  # pyright: ignore
        )
        return sum(vote.p_a or 0.0 for vote in votes) / 2

    assert p(SHORTER) == pytest.approx(1 - p(LONGER))
    assert p(SHORTER) > 0.5


def test_reasoning_is_clamped_once_and_averaged_when_repeated() -> None:
    engine = ScriptedEngine(lambda turns, sampling: "A: short. B: long.", letters(sharpness=2.0))
    question = Question(prompt(), "ab", "abcd", "ab", SHORTER.judge, "beef", 5)
    once = asyncio.run(cot.answer(engine, question))
    assert once.p_first == 0.6  # 1 / (1 + e^-4) = 0.982, clamped
    often = asyncio.run(cot.answer(engine, question, samples=3))
    assert often.p_first == pytest.approx(1 / (1 + math.exp(-4)))
    assert often.usage.calls == 6
    asked = engine.calls[0].turns, engine.calls[1].turns
    assert asked[0][-1].content.endswith(cot.ASK_REASON.replace("{judge}", SHORTER.judge))
    assert [turn.content for turn in asked[1][-2:]] == ["A: short. B: long.", cot.ASK_ANSWER]
    assert (
        len({call.sampling.seed for call in engine.calls if call.sampling}) == 3
    )  # one per sample; the first is shared


def test_an_empty_reasoning_is_unread() -> None:
    engine = ScriptedEngine(lambda turns, sampling: " ", letters())
    answer = asyncio.run(cot.answer(engine, Question(prompt(), "a", "b", "ab", "Which?", "beef", 5)))
    assert answer.p_first is None


def test_a_score_is_the_expectation_of_the_numbers() -> None:
    # Half of the probability on 4 and half on 9: expectation 6.5, reward (6.5 - 5.5) / 4.5.
    log_half = math.log(0.5)
    found = scores(*(log_half if n in (4, 9) else -math.inf for n in range(1, 11)))
    shares, mass, raw = score.read_numbers(found, overlap=False)
    assert score.Score(shares, mass, raw, Usage()).reward == pytest.approx(1 / 4.5)


def test_ten_is_taken_out_of_one_only_where_both_start_alike() -> None:
    # The answer starts with "1" with 0.5, goes on to "10" with 0.3: "1" alone has 0.2, and 3 has the other 0.5.
    logs = [math.log(0.5), -math.inf, math.log(0.5), *[-math.inf] * 6, math.log(0.3)]
    shares, mass, _ = score.read_numbers(scores(*logs), overlap=True)
    assert shares is not None
    assert (shares[0], shares[2], shares[9]) == pytest.approx((0.2, 0.5, 0.3))
    assert mass == pytest.approx(1.0)
    apart, mass, _ = score.read_numbers(scores(*logs), overlap=False)
    assert apart is not None
    assert apart[0] == pytest.approx(0.5 / 1.3)


def test_a_one_behind_which_a_ten_may_hide_is_unread() -> None:
    # A server with split digits shows "1" for both: "10" is bounded by the least log-prob shown.
    shown = (*[False] * 9, True)
    logs = [math.log(0.6), *[math.log(0.04)] * 8, math.log(0.001)]
    for overlap in (False, True):
        shares, _, raw = score.read_numbers(scores(*logs, bounded=shown), overlap=overlap)
        assert shares is None
        assert "10=<-6.9078" in raw
    logs[0] = math.log(0.001)
    shares, _, _ = score.read_numbers(scores(*logs, bounded=shown), overlap=True)
    assert shares is not None
    assert shares[1] == pytest.approx(0.04 / 0.322)


def test_numbers_of_two_replies_are_compared_by_chance() -> None:
    # a is 3 or 8 with one half each, b is 8: P(a > b) = 0, P(equal) = 1/2, so 1/4.
    a = tuple(0.5 if n in (3, 8) else 0.0 for n in range(1, 11))
    b = tuple(float(n == 8) for n in range(1, 11))
    assert score.p_above(a, b) == pytest.approx(0.25)
    assert score.p_above(b, a) == pytest.approx(0.75)


def test_mode_score_gives_rewards_and_pairs() -> None:
    def options(turns: tuple[Turn, ...], asked: tuple[str, ...]) -> list[float]:
        number = len(read(turns).replies[0])
        return [0.0 if int(option) == number else -math.inf for option in asked]

    engine = ScriptedEngine(lambda turns, sampling: "", options)
    asked = asyncio.run(ask_scores([Judge("j", engine)], [SHORTER], prompt(), ("a" * 10, "a"), Asking(mode="score")))
    assert asked.rewards == ((pytest.approx(1.0),), (pytest.approx(-1.0),))
    assert [vote.p_a for vote in asked.votes[0, 1]] == [1.0]


RANKINGS = [
    ("B > A > C", 3, (1, 0, 2)),
    ("C > A = D > B", 4, (1, 2, 0, 1)),
    ("B, A, C", 3, (1, 0, 2)),
    ("B A C", 3, (1, 0, 2)),
    ("1. B\n2. A\n3. C", 3, (1, 0, 2)),
    ("Ranking: B > A > C.", 3, (1, 0, 2)),
    ("(B) > (A)", 2, (1, 0)),
    ("**B > A**", 2, (1, 0)),
    ("Reply B > Reply A", 2, (1, 0)),
    ("A = B", 2, (0, 0)),
    ("B > A > C because A lies.", 3, (1, 0, 2)),
    ("B > A", 3, None),
    ("B > A > B > C", 3, None),
    ("A > B > C > D", 3, None),
    ("A > B\nB > A", 2, None),
    ("A", 2, None),
    ("BAC", 3, None),
    ("b > a", 2, None),
    ("I will not rank these.", 3, None),
    ("", 2, None),
]


@pytest.mark.parametrize(("text", "K", "ranks"), RANKINGS)
def test_rankings(text: str, K: int, ranks: tuple[int, ...] | None) -> None:
    assert read_ranking(text, K) == ranks


def test_rankings_and_choices_become_pairs() -> None:
    assert pairs_of_ranking((1, 0, 1)) == ((0, 1, 0.0), (0, 2, 0.5), (1, 2, 1.0))
    assert pairs_of_choice((0.6, 0.2, 0.2)) == ((0, 1, pytest.approx(0.75)), (0, 2, pytest.approx(0.75)), (1, 2, 0.5))


def test_a_list_is_shown_in_an_order_and_its_reverse() -> None:
    def rank(shown: object) -> str:
        replies = shown.replies  # pyright: ignore
        order = sorted(range(len(replies)), key=lambda i: len(replies[i]))
        return " > ".join("ABC"[i] for i in order)

    engine = saying(rank)
    replies = ("aaaa", "a", "aa")
    asked = asyncio.run(ask_lists([Judge("j", engine)], [SHORTER], prompt(), replies, Asking(mode="list")))
    first, second = (read(call.turns).replies for call in engine.calls)
    assert first == tuple(reversed(second))
    assert {pair: [vote.p_a for vote in votes] for pair, votes in asked.votes.items()} == {
        (0, 1): [0.0, 0.0],
        (0, 2): [0.0, 0.0],
        (1, 2): [1.0, 1.0],
    }
    assert {vote.order for vote in asked.votes[0, 1]} == {"ab", "ba"}


def test_best_of_k_reads_log_probs() -> None:
    engine = judging(sharpness=1.0)
    asked = asyncio.run(
        ask_lists([Judge("j", engine)], [LONGER], prompt(), ("a", "aaa", "aa"), Asking(mode="list", best_of=True))
    )
    # Values 1, 3, 2: p(0 over 1) = e / (e + e^3) in either order.
    assert [vote.p_a for vote in asked.votes[0, 1]] == [pytest.approx(1 / (1 + math.exp(2)))] * 2
