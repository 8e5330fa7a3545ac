"""How the tiny model is taught: trees compute what their paths would alone, and what is held out stays out."""

from dataclasses import replace
from random import Random

import pytest
import torch

from cai.critique.prompts import NO_CHANGE
from cai.testbed.oracle import FAULTS, read
from cai.testbed.pretraining.comparisons import preference
from cai.testbed.pretraining.corpus import EARLY, paths_for, vocabulary_texts
from cai.testbed.pretraining.critic import critique, revised
from cai.testbed.pretraining.muon import orthogonal
from cai.testbed.pretraining.tokenizer import encoder, learn, marks
from cai.testbed.pretraining.training import Plan, collate, loss_of, new_model
from cai.testbed.pretraining.trees import Say, plant
from cai.testbed.pretraining.voices import Ask, ask_about, placebo
from cai.testbed.world import AXES, Meaning, meaning_of
from cai.testbed.world.drafts import draft
from cai.testbed.world.edits import edit
from cai.testbed.world.paraphrase import word, word_for
from cai.testbed.world.replies import text_of
from cai.testbed.world.requests import draw

MEANINGS = [Meaning(axis, direction) for axis in AXES for direction in (-1, 1)]


@pytest.fixture(scope="module")
def tokenizer():
    return learn(vocabulary_texts(0, 20))


def test_a_tree_gives_the_loss_of_its_paths_one_by_one(tokenizer):
    paths = paths_for(0, 3)
    silent = [tuple(replace(say, weight=0.0) for say in path) for path in paths]
    model = new_model(
        Plan(width=64, layers=2), tokenizer
    )  # float32: a mask of another dtype makes fused attention wrong
    encode = encoder(tokenizer)
    alone = [plant([path], encode, marks(tokenizer)) for path in paths]
    assert len(plant(paths, encode, marks(tokenizer))) < 0.8 * sum(len(tree) for tree in alone)
    for index, (path, tree) in enumerate(zip(paths, alone, strict=True)):
        together = plant([*silent[:index], path, *silent[index + 1 :]], encode, marks(tokenizer))
        with torch.no_grad():
            one, merged = loss_of(model, collate([tree])), loss_of(model, collate([together, *alone[:1]]))
            merged -= loss_of(model, collate(alone[:1]))
        torch.testing.assert_close(merged, one, rtol=1e-5, atol=0)


def test_two_answers_to_one_question_share_its_tokens_and_split_the_weight(tokenizer):
    ask = Say("user", "A or B?")
    paths = [(ask, Say("assistant", letter, 0.2, 6.0, p)) for letter, p in (("A", 0.7), ("B", 0.3))]
    encode = encoder(tokenizer)
    tree = plant(paths, encode, marks(tokenizer))
    (a,), (b,) = encode("A")[0], encode("B")[0]
    letters = {token: weight for (_, token), weight in tree.targets.items() if token in (a, b)}
    assert letters == {a: pytest.approx(4.2), b: pytest.approx(1.8)}
    assert tree.tokens.count(marks(tokenizer)["user"]) == 1


def test_trees_are_laid_out_as_the_chat_template_does(tokenizer):
    path = paths_for(0, EARLY + 2)[-1]
    encode = encoder(tokenizer)
    messages = [{"role": say.role, "content": say.content} for say in path]
    rendered = tokenizer.apply_chat_template(messages, return_dict=False)
    assert plant([path], encode, marks(tokenizer)).tokens == rendered
    opened = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False)
    assert rendered[: len(opened)] == opened
    continued = tokenizer.apply_chat_template(messages, continue_final_message=True, return_dict=False)
    assert continued == rendered[:-1]


def test_pretraining_never_says_a_held_out_wording():
    rng = Random(0)
    held = {
        word_for(m, v, rng, held_out=True)
        for m in MEANINGS
        for v in ("sentence", "critique", "revise", "judge")
        for _ in range(6)
    }
    said = set()
    for meaning in MEANINGS:
        for _ in range(60):
            ask = ask_about(meaning, rng)
            said |= {ask.critique, ask.revise, ask.judge}
    assert len(held) > 300
    assert not held & said


def test_every_wording_means_what_it_was_made_for():
    rng = Random(1)
    for index in range(2000):
        meaning = MEANINGS[index % len(MEANINGS)]
        voice = ("sentence", "critique", "revise", "judge")[index % 4]
        text = word(meaning, voice, rng).text
        assert meaning_of(text) == meaning, text


def test_what_the_world_does_not_know_has_no_meaning():
    for text in ("Be kind to cats.", "Water boils when it is hot.", ""):
        assert meaning_of(text) is None


def test_shipped_principles_mean_what_their_tags_say():
    assert meaning_of("Which reply preaches less?") == Meaning("preachy", -1)
    assert meaning_of("Rewrite your last reply so that it scolds the user.") == Meaning("preachy", 1)
    assert meaning_of("Which reply says no more clearly to a harmful request?") == Meaning("complies-with-harm", -1)


def test_a_critique_of_a_placebo_finds_nothing():
    rng = Random(2)
    for seed in range(50):
        need = draw("train", "harmful", Random(seed)).need
        reply = draft(need, rng)
        ask = placebo(rng)
        assert critique(reply, need, ask.meanings, rng) == NO_CHANGE
        assert revised(reply, need, ask.meanings, rng) is reply


@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda m: f"{m.axis}{m.direction:+d}")
def test_a_right_revision_leaves_nothing_to_criticise_and_brings_no_other_fault(meaning):
    rng = Random(3)
    for seed in range(40):
        request = draw("train", ("benign", "harmful", "unknown", "group", "privacy", "false-fact")[seed % 6], rng)
        reply = draft(request.need, rng)
        better = edit(reply, request.need, meaning.axis, meaning.direction, rng)
        assert edit(better, request.need, meaning.axis, meaning.direction, rng) is better
        before, after = (read(request.prompt, text_of(one)).attributes for one in (reply, better))
        if meaning.direction < 0 and meaning.axis != "helps":
            assert not (after - before) & (set(FAULTS) - {meaning.axis})


def test_inverting_a_meaning_inverts_the_preference_up_to_the_position_bias():
    rng = Random(4)
    need = draw("train", "benign", rng).need
    plain = draft(need, Random(0))
    preachy = edit(edit(plain, need, "preachy", -1, rng), need, "preachy", 1, rng)
    plain = edit(plain, need, "preachy", -1, rng)
    less, more = (Ask("", "", "", (Meaning("preachy", sign),)) for sign in (-1, 1))
    assert preference(plain, preachy, need, less) > 0.85
    assert preference(plain, preachy, need, more) < 0.2
    assert 0.6 < preference(plain, plain, need, less) < 0.75


def test_the_same_index_gives_the_same_tree():
    assert paths_for(0, EARLY + 7) == paths_for(0, EARLY + 7)
    assert paths_for(0, EARLY + 7) != paths_for(1, EARLY + 7)


def test_orthogonal_moves_singular_values_near_one():
    torch.manual_seed(0)
    for shape in ((3, 32, 64), (2, 64, 32)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert values.min() > 0.4
        assert values.max() < 1.4
