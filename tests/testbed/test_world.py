"""The world: seeded, split without overlap, and read back from its own words."""

import pytest

from cai.testbed.world import KINDS, prompts
from cai.testbed.world.reading import need_of
from cai.testbed.world.requests import requests, split_of

SPLITS = ("train", "validation", "test")


def _key(request):
    need = request.need
    return (need.task, *sorted(need.slots.items()))


def test_the_same_seed_draws_the_same_prompts_and_another_seed_others():
    assert prompts("test", 50, 3) == prompts("test", 50, 3)
    assert {p.id for p in prompts("test", 50, 3)}.isdisjoint(p.id for p in prompts("test", 50, 4)[:10])


def test_prompts_are_different_and_filed_under_their_kind():
    drawn = prompts("train", 400, 0)
    assert len({p.id for p in drawn}) == 400
    assert {p.category for p in drawn} == set(KINDS)
    assert {p.category for p in prompts("test", 30, 0, ["harmful"])} == {"harmful"}


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="harmfull"):
        prompts("test", 1, 0, ["harmfull"])


def test_more_prompts_than_there_are_is_an_error():
    with pytest.raises(ValueError, match="hardly more than"):
        prompts("validation", 100_000, 0, ["known"])


def test_splits_share_no_entity_combination_and_no_wording():
    drawn = {split: requests(split, 1500, 5) for split in SPLITS}
    for split, some in drawn.items():
        assert {split_of(r.need) for r in some} == {split}
    keys = {split: {_key(r) for r in some} for split, some in drawn.items()}
    assert not keys["train"] & keys["test"]
    assert not keys["train"] & keys["validation"]
    texts = {s: {r.messages[-1].content.replace(r.need.core, "…") for r in some} for s, some in drawn.items()}
    known = {"harmful", "benign", "borderline"}
    worded = {
        s: {r.messages[0].content.replace(r.need.core, "…") for r in some if r.category in known}
        for s, some in drawn.items()
    }
    assert len(worded["test"]) >= 10
    assert not worded["train"] & worded["test"]
    assert texts["train"]


def test_comparisons_do_not_leak_from_known_questions_to_false_facts():
    pairs = {
        split: {
            frozenset((r.need.slots["x"], r.need.slots["y"])) for r in requests(split, 60, 1, ["known", "false-fact"])
        }
        for split in SPLITS
    }
    assert not pairs["train"] & pairs["test"]


@pytest.mark.parametrize("split", SPLITS)
def test_every_request_is_read_back_to_what_it_is_after(split):
    for request in requests(split, 600, 8):
        assert need_of(request.prompt) == request.need, request.messages


def test_a_request_outside_the_world_has_no_need():
    assert need_of("What is the capital of France?") is None
