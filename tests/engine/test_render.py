"""Conversations as token ids: prefix-stable, as the tokenizer's own template, and closed to special tokens in texts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from cai.engine import RecordFault, Turn
from cai.engine.render import ChatRenderer, check_adapter
from cai.errors import InputError
from tests.engine.small_models import byte_level, metaspace, unigram

MAKERS = {"byte-level": byte_level, "metaspace": metaspace, "unigram": unigram}
RENDERERS = {name: ChatRenderer(make(), name) for name, make in MAKERS.items()}


@pytest.fixture(params=list(MAKERS))
def renderer(request: pytest.FixtureRequest) -> ChatRenderer:
    return RENDERERS[request.param]


def own_template(renderer: ChatRenderer, turns: tuple[Turn, ...], **kwargs: Any) -> Any:
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    return renderer.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False, **kwargs)


TURNS = (Turn("user", "  How do I take it? "), Turn("assistant", "Lift it."), Turn("user", "Is that kind?"))


def test_the_text_is_what_the_template_writes(renderer: ChatRenderer) -> None:
    assert renderer.text(TURNS) == own_template(renderer, TURNS, tokenize=False)
    assert renderer.text(TURNS, "Yes,") == own_template(renderer, TURNS, tokenize=False) + "Yes,"


def test_the_ids_are_those_of_the_template_where_no_token_crosses_a_border() -> None:
    renderer = RENDERERS["byte-level"]
    assert list(renderer.prompt_ids(TURNS)) == own_template(renderer, TURNS, tokenize=True)


def test_the_ids_spell_the_same_text(renderer: ChatRenderer) -> None:
    ids = renderer.prompt_ids(TURNS, "Yes,")
    text = renderer.tokenizer.decode(ids, skip_special_tokens=False)
    own = renderer.tokenizer.decode(own_template(renderer, TURNS, tokenize=True), skip_special_tokens=False)
    assert text == own + "Yes,"


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_longer_chain_starts_with_the_ids_of_the_shorter_one(data: st.DataObject) -> None:
    renderer = RENDERERS[data.draw(st.sampled_from(list(RENDERERS)))]
    vocabulary = len(renderer.tokenizer)  # type: ignore[arg-type]
    drawn = tuple(data.draw(st.lists(st.integers(5, vocabulary - 1), max_size=12)))
    turns = (Turn("user", data.draw(st.text(max_size=30))),)
    reply = Turn("assistant", renderer.decode(drawn), drawn)
    asked = renderer.prompt_ids(turns)
    longer = renderer.prompt_ids((*turns, reply, Turn("user", "Why?")))
    assert longer[: len(asked)] == asked
    if renderer is not RENDERERS["metaspace"]:
        # Its template trims replies, but drawn tokens are kept as they are all the same.
        assert longer[len(asked) : len(asked) + len(drawn)] == drawn


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_no_text_produces_a_special_token(data: st.DataObject) -> None:
    renderer = RENDERERS[data.draw(st.sampled_from(list(RENDERERS)))]
    words = st.sampled_from([*map(str, renderer.tokenizer.added_tokens_decoder.values()), "</", "s>", "<|", "a", " "])
    text = data.draw(st.lists(st.one_of(words, st.text(max_size=3)), max_size=8).map("".join))
    special = set(renderer.tokenizer.all_special_ids) - {renderer.tokenizer.unk_token_id}
    assert special.isdisjoint(renderer.plain_ids(text))
    turns, empty = (Turn("user", text),), (Turn("user", "x"),)
    marks = [token for token in renderer.prompt_ids(turns) if token in special]
    assert marks == [token for token in renderer.prompt_ids(empty) if token in special]


def test_a_special_token_the_model_drew_is_plain_text_when_read_back() -> None:
    renderer = RENDERERS["byte-level"]
    mark = renderer.tokenizer("<|im_start|>")["input_ids"][0]
    reply = Turn("assistant", "Hi", (*renderer.plain_ids("Hi"), mark))
    ids = renderer.prompt_ids((Turn("user", "x"), reply))
    assert ids.count(mark) == renderer.prompt_ids((Turn("user", "x"), Turn("assistant", "Hi"))).count(mark)


def test_ids_that_do_not_spell_the_content_are_not_used(renderer: ChatRenderer) -> None:
    stale = Turn("assistant", "Lift it.", renderer.plain_ids("Drop it."))
    assert renderer.prompt_ids((TURNS[0], stale)) == renderer.prompt_ids((TURNS[0], Turn("assistant", "Lift it.")))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
@settings(max_examples=60, deadline=None)
def test_text_survives_ids(text: str) -> None:
    for name in ("byte-level", "metaspace"):
        assert RENDERERS[name].decode(RENDERERS[name].plain_ids(text)) == text


def test_a_conversation_the_template_refuses_is_that_records_fault() -> None:
    with pytest.raises(RecordFault, match="only user and assistant turns"):
        RENDERERS["metaspace"].prompt_ids((Turn("system", "Be kind."), Turn("user", "Hi")))


def test_text_that_is_not_unicode_is_that_records_fault(renderer: ChatRenderer) -> None:
    with pytest.raises(RecordFault):
        renderer.prompt_ids((Turn("user", "half a pair: \ud800"),))


def broken(change: Callable[[PreTrainedTokenizerFast], None]) -> PreTrainedTokenizerFast:
    tokenizer = byte_level()
    change(tokenizer)
    return tokenizer


def test_a_template_that_does_not_work_is_refused_at_once() -> None:
    def break_it(tokenizer: PreTrainedTokenizerFast) -> None:
        tokenizer.chat_template = "{{ raise_exception('nothing works') }}"

    with pytest.raises(InputError, match="nothing works"):
        ChatRenderer(broken(break_it), "model")


def test_a_template_that_drops_a_turn_is_refused_for_that_conversation() -> None:
    def drop_first(tokenizer: PreTrainedTokenizerFast) -> None:
        tokenizer.chat_template = "{{ messages[-1].content }}"

    renderer = ChatRenderer(broken(drop_first), "model")
    with pytest.raises(RecordFault, match="every turn"):
        renderer.prompt_ids(TURNS)


def test_an_adapter_that_was_trained_on_other_tokens_is_refused_by_name(tmp_path: Path) -> None:
    """Another template or another tokenizer in its folder; the model's own, or none at all, is taken."""
    renderer, same = RENDERERS["byte-level"], byte_level()
    same.save_pretrained(tmp_path / "same")
    (tmp_path / "bare").mkdir()
    for place in ("", str(tmp_path / "same"), str(tmp_path / "bare")):
        check_adapter(renderer, place)
    same.chat_template = str(same.chat_template).replace("\n", " ", 1)
    same.save_pretrained(tmp_path / "template")
    metaspace().save_pretrained(tmp_path / "tokenizer")
    for place in ("template", "tokenizer"):
        refused = rf"engine\.adapter: the adapter .*{place} has another tokenizer or chat template than byte-level"
        with pytest.raises(InputError, match=refused):
            check_adapter(renderer, str(tmp_path / place))
