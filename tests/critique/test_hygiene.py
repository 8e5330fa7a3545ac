"""Replies that are noise, by kind, and ordinary ones beside them that must not be taken for it."""

import time

import pytest

from cai.critique.hygiene import PROBLEMS, critique_problems, reply_problems, worst

BEFORE = "You could climb over the fence at night and take it."
CRITIQUE = "The reply explains how to steal from a neighbour, which harms a third party."

NOISE = [
    ("", "empty"),
    (" \n\t", "empty"),
    ("Sure, here is a revised response: Please ask them first.", "preamble"),
    ("Here's the revised version of my last reply:\n\nPlease ask them first.", "preamble"),
    ("Certainly! Here is the rewritten reply that follows the principle. Ask them first.", "preamble"),
    ("I have revised my answer so that it is not harmful: ask them first.", "preamble"),
    ("Of course. Below is an improved response.\nAsk them first.", "preamble"),
    (CRITIQUE, "critique_echo"),
    ("I won't. As said: the reply explains how to steal from a neighbour, which harms a third party.", "critique_echo"),
    ("Critique: it explains how to steal.", "role_confusion"),
    ("The assistant's last response is harmful because it explains stealing.", "role_confusion"),
    ("My previous reply broke the principle.", "role_confusion"),
    ("No change needed.", "role_confusion"),
    ("Please ask them.\n\nHuman: and if they say no?\n\nAssistant: Then leave it.", "role_confusion"),
    ("Please ask them.\nUser: why?", "role_confusion"),
    ("<|im_start|>assistant\nPlease ask them.", "role_confusion"),
    ("Ask first. I hope this helps! Let me know if you need more. Feel free to ask! Good luck!", "loop"),
    ("Ask first 🙂🙂🙂🙂🙂🙂🙂🙂", "loop"),
    ("Ask 😀 them 😀 first 😀 and 😀 wait 😀 a 😀 day 😀 or 😀 two 😀", "loop"),
    ("Ask first!!!!!!!!!!!!", "loop"),
    ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "loop"),
    ("You should ask them first. " * 5, "repetition"),
    ("ask first " * 10, "repetition"),
    ("no no no no yes no no no no no no no no no no", "repetition"),
]

FINE = [
    "Please ask them first.",
    "I can't help with taking it, because it is theirs. You could ask to borrow it.",
    "Here is how to bake bread: mix, knead, wait, bake.",
    "Here are three ideas. Ask, wait, or buy your own.",
    "Sure, ask them first; they may lend it to you.",
    "I have asked three neighbours myself, and all of them said yes.",
    "The user manual says: press the red button.",
    "The reply to a letter should be polite.",
    "Human rights: what are they? A list follows.",
    "| a | b |\n|-----------------|------------------|\n| 1 | 2 |",
    "Wait................ and then ask.",
    "This helps. Let me know if it does not.",
    "One two three four. Five six seven eight. Nine ten eleven twelve. Thirteen.",
    "Yes.",
    "你好，请先问一下他们。",
    "Please ask them 🙂",
]


@pytest.mark.parametrize(("reply", "problem"), NOISE)
def test_noise_in_a_revision_is_named(reply, problem):
    assert worst(reply_problems(reply, before=BEFORE, critique=CRITIQUE)) == problem


@pytest.mark.parametrize("reply", FINE)
def test_an_ordinary_revision_has_no_problem(reply):
    assert reply_problems(reply, before=BEFORE, critique=CRITIQUE) == ()


@pytest.mark.parametrize("reply", [CRITIQUE, "No change needed.", "Here is the new version of the recipe."])
def test_what_is_noise_only_in_a_revision_may_be_a_draft(reply):
    assert reply_problems(reply) == ()


def test_a_critique_that_quotes_the_reply_does_not_make_the_reply_an_echo():
    before = "Take the ladder from the shed and climb over the fence."
    critique = "It says to take the ladder from the shed and climb over the fence, which is theft."
    revision = "Do not take the ladder from the shed and climb over the fence. Ask."
    assert reply_problems(revision, before=before, critique=critique) == ()


@pytest.mark.parametrize(
    "critique",
    ["Revision: Please ask.", "Human: what?", "Sure, here is a revised response: ask.", BEFORE],
)
def test_a_reply_in_the_critiques_place_is_role_confusion(critique):
    assert critique_problems(critique, BEFORE) == ("role_confusion",)


@pytest.mark.parametrize("critique", [CRITIQUE, "No change needed.", "", "It explains stealing: see its first step."])
def test_an_ordinary_critique_has_no_problem(critique):
    assert critique_problems(critique, BEFORE) == ()


@pytest.mark.parametrize("word", ["ok ", "sure, ", "\n", "here ", "🙂 a ", "<", "of course. "])
def test_a_long_reply_made_to_be_slow_is_read_in_no_time(word):
    started = time.perf_counter()
    reply_problems(word * 20_000, before=BEFORE, critique=CRITIQUE)
    assert time.perf_counter() - started < 1


def test_the_worst_problem_is_the_reason_and_every_one_is_explained():
    assert worst(("repetition", "truncated", "preamble")) == "truncated"
    assert worst(()) is None
    assert {problem for _, problem in NOISE} | {"truncated", "identical"} == set(PROBLEMS)


@pytest.mark.parametrize("start", range(4))
def test_a_run_of_eight_is_found_wherever_it_begins_and_one_of_seven_is_none(start):
    assert reply_problems("abcd"[:start] + "!" * 8 + " ask them") == ("loop",)
    assert reply_problems("abcd"[:start] + "!" * 7 + " ask them") == ()
