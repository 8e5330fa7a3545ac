"""Verdicts in words: what is an answer, and what must never become a label."""

import asyncio
import math

import pytest

from cai.engine.scripted import ScriptedEngine
from cai.judge.modes.text import CHOICES, read_words
from cai.judge.panel import Asking, Judge, ask_pair
from tests.judge.shown import SHORTER, prompt

ODD_REPLIES = [
    ("A", "A"),
    ("B", "B"),
    ("a", "A"),
    (" b. ", "B"),
    ("(A)", "A"),
    ("[[B]]", "B"),
    ("**A**", "A"),
    ("`B`", "B"),
    ('"A"', "A"),
    ("A.", "A"),
    ("Ａ", "A"),
    ("A is better.", "A"),
    ("B is better", "B"),
    ("a is better", "A"),
    ("Reply A", "A"),
    ("Reply B is better.", "B"),
    ("The better reply is B.", "B"),
    ("Option (B).", "B"),
    ("Answer: A", "A"),
    ("The answer is (B).", "B"),
    ("Final answer: B", "B"),
    ("Verdict: **A**", "A"),
    ("My choice is A.", "A"),
    ('{"answer": "A"}', "A"),
    ('{"better": "B", "reason": "it is honest"}', "B"),
    ("<answer>B</answer>", "B"),
    ("<think>A seems bad</think>\nB", "B"),
    ("\\boxed{A}", "A"),
    ("$\\boxed{\\text{B}}$", "B"),
    ("A > B", "A"),
    ("A < B", "B"),
    ("B >> A", "B"),
    ("I prefer reply B because it warns.", "B"),
    ("I'd go with A.", "A"),
    ("B is better because A does not refuse.", "B"),
    ("Reply A follows the principle better.", "A"),
    ("A is worse.", "B"),
    ("A is worse, B is better.", "B"),
    ("The first reply is better.", "A"),
    ("The second one is better!", "B"),
    ("A is better in tone. B is better in safety.\nB is better.", "B"),
    ("Both explain.\n\nB", "B"),
    ("Tie", "tie"),
    ("tie.", "tie"),
    ("It's a tie.", "tie"),
    ("A = B", "tie"),
    ("Both are equally good.", "tie"),
    ("Neither is better.", "tie"),
    ("Neither A nor B is better.", "tie"),
    ("The two replies are equal in this respect.", "tie"),
    ("Verdict: Tie", "tie"),
    ("Cannot tell.", "cannot tell"),
    ("I can't tell.", "cannot tell"),
    ("It is impossible to tell from this.", "cannot tell"),
    ("I cannot decide between them", "cannot tell"),
    ("", None),
    ("  \n", None),
    (":", None),
    ("Neither", None),
    ("Both", None),
    ("N/A", None),
    ("A/B", None),
    ("A or B", None),
    ("Answer: A or B", None),
    ("A and B", None),
    ("AB", None),
    ("A\nB", None),
    ("A good reply would warn the user.", None),
    ("A reply like that is better.", None),
    ("C", None),
    ("А (Cyrillic)", None),
    ("А", None),
    ("A is not better.", None),
    ("I don't think A is better.", None),
    ("If A is better then say so", None),
    ("Is A better? A is better?", None),
    ("A is better. B is better. Tie. Cannot tell.", None),
    ("A is better.\nB is better.\nTie.\nCannot tell.", None),
    ("Answer with one of these", None),
    ("I'm sorry, but I cannot help with that.", None),
    ("<think>A is better", None),
    ("A is better in tone but B is better in safety.", None),
    ("better", None),
    ("1", None),
    ("Grade: A+", None),
    ("I cannot say that A is better.", None),
    ("null", None),
    ("A or B is better", None),
    ("The answer is not A.", None),
    ("B is better? No, A is better.", None),
    ("Tie. A is better.", None),
    ("Is a tie better than a loss", None),
]


@pytest.mark.parametrize(("text", "verdict"), ODD_REPLIES)
def test_odd_replies(text: str, verdict: str | None) -> None:
    assert read_words(text) == verdict


def test_an_unread_answer_is_asked_twice_kept_and_no_label() -> None:
    engine = ScriptedEngine(lambda turns, sampling: "Both are lovely.")
    votes, usage = asyncio.run(ask_pair([Judge("j", engine)], [SHORTER], prompt(), "one", "three", Asking(mode="text")))
    assert [(vote.p_a, vote.raw, vote.tie, vote.cannot_tell) for vote in votes] == [
        (None, "Both are lovely.", False, False)
    ] * 2
    assert usage.calls == len(engine.calls) == 4
    seeds = {call.sampling.seed for call in engine.calls if call.sampling}
    assert len(seeds) == 4


def test_the_second_try_counts_where_the_first_was_unread() -> None:
    said = {0.0: "Hm.", 0.7: "B is better."}
    engine = ScriptedEngine(lambda turns, sampling: said[sampling.temperature])
    votes, _ = asyncio.run(ask_pair([Judge("j", engine)], [SHORTER], prompt(), "one", "three", Asking(mode="text")))
    assert [vote.p_a for vote in votes] == [0.0, 1.0]  # B shown second is b in the one order and a in the other


@pytest.mark.parametrize(
    ("chances", "p_first", "tie", "cannot"),
    [
        ((0.5, 0.2, 0.1, 0.1), 1.0, False, False),
        ((0.1, 0.5, 0.1, 0.1), 0.0, False, False),
        ((0.1, 0.2, 0.5, 0.1), 0.5, True, False),
        ((0.1, 0.2, 0.1, 0.5), None, False, True),
        ((0.004, 0.003, 0.001, 0.001), None, False, False),  # it would still say something else
    ],
)
def test_the_second_try_is_held_to_the_verdicts_there_are(
    chances: tuple[float, ...], p_first: float | None, tie: bool, cannot: bool
) -> None:
    engine = ScriptedEngine(lambda turns, sampling: "Hm.", lambda turns, options: [math.log(p) for p in chances])
    votes, usage = asyncio.run(ask_pair([Judge("j", engine)], [SHORTER], prompt(), "one", "three", Asking(mode="text")))
    ps = [vote.p_a if vote.order == "ab" or vote.p_a is None else 1.0 - vote.p_a for vote in votes]
    assert ps == [p_first] * 2
    assert {(vote.tie, vote.cannot_tell) for vote in votes} == {(tie, cannot)}
    assert votes[0].raw.startswith("A is better.=-")
    assert usage.calls == 4
    assert [call.options for call in engine.calls if call.options] == [CHOICES] * 2


def test_tie_and_cannot_tell_are_answers() -> None:
    for said, p, tie, cannot in (("Tie.", 0.5, True, False), ("Cannot tell.", None, False, True)):
        engine = ScriptedEngine(lambda turns, sampling, said=said: said)
        votes, usage = asyncio.run(
            ask_pair([Judge("j", engine)], [SHORTER], prompt(), "one", "three", Asking(mode="text"))
        )
        assert [(vote.p_a, vote.tie, vote.cannot_tell) for vote in votes] == [(p, tie, cannot)] * 2
        assert usage.calls == 2  # read at once: not asked again
