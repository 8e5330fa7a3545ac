"""One chain: who is asked what, in which order, and what is kept of it."""

import asyncio

import pytest

from cai.constitution import Constitution, Example, Loop, Principle
from cai.critique.loop import Parts, run_chain
from cai.critique.prompts import ask_critique, ask_revise
from cai.engine.protocol import Completion, ContextTooLong, Sampling, Turn
from cai.engine.scripted import ScriptedEngine
from cai.records import Message, Prompt, Revision, Usage
from tests.critique.script import ask, behave, make_constitution, make_plan


def chain(text: str, parts: Parts, constitution: Constitution, **plan: int) -> Revision:
    return asyncio.run(run_chain(ask(text), parts, make_plan(constitution, **plan)))


def scripted(*answers: str) -> Parts:
    queue = list(answers)
    engine = ScriptedEngine(lambda turns, sampling: queue.pop(0))
    return Parts(engine, engine, engine)


def test_a_reply_without_fault_is_criticised_and_left_alone(parts):
    revision = chain("a plain thing", parts, make_constitution("harm"))
    (step,) = revision.steps
    assert (step.violated, step.revision, step.changed) == (False, None, False)
    assert revision.final == revision.draft
    assert [len(call.turns) for call in parts.draft.calls] == [1, 3]


def test_a_fault_is_found_and_revised_away(parts):
    revision = chain("do harm", parts, make_constitution("harm"))
    (step,) = revision.steps
    assert step.violated is True
    assert step.changed
    assert "<harm>" in revision.draft
    assert revision.final == step.revision
    assert "[harm gone]" in revision.final
    assert revision.usage.calls == 3


def test_the_three_calls_share_their_beginning_and_only_ours_is_trusted(parts):
    revision = chain("do harm", parts, make_constitution("harm"))
    draft, critique, revise = (call.turns for call in parts.draft.calls)
    principle = make_constitution("harm").principles[0]
    assert critique == (*draft, Turn("assistant", revision.draft), Turn("user", ask_critique(principle), trusted=True))
    said = Turn("assistant", revision.steps[0].critique)
    assert revise == (*critique, said, Turn("user", ask_revise(principle), trusted=True))


def test_each_round_starts_from_the_conversation_with_the_new_reply(parts):
    constitution = make_constitution("harm", "lies", draw="cycle", rounds=2)
    revision = chain("do harm with lies", parts, constitution)
    assert [step.round for step in revision.steps] == [0, 1]
    assert {step.principle for step in revision.steps} == {"harm", "lies"}
    second = parts.draft.calls[3].turns
    assert [turn.content for turn in second[:2]] == ["do harm with lies", revision.steps[0].revision]
    assert len(second) == 3
    assert "[harm gone]" in revision.final
    assert "[lies gone]" in revision.final


def test_draw_all_asks_every_principle_in_every_round_highest_priority_first(parts):
    first = Principle(id="lies", critique="Find lies.", revise="Remove lies.", priority=2)
    rest = make_constitution("harm", "noise").principles
    constitution = Constitution(name="x", principles=(*rest, first), loop=Loop(rounds=2, draw="all"))
    steps = chain("plain", parts, constitution).steps
    assert [(s.round, s.principle) for s in steps] == [
        (round, name) for round in (0, 1) for name in ("lies", "harm", "noise")
    ]


def test_the_final_check_asks_every_principle_once_more_and_mends_what_a_revision_broke():
    constitution = make_constitution("harm", "lies", rounds=1, draw="cycle", final_check=True)

    def undo(turns: tuple[Turn, ...], sampling: Sampling) -> str:
        text = behave(turns, sampling)
        return text + " <harm>" if turns[-1].content.startswith("Remove lies") else text

    engine = ScriptedEngine(undo)
    parts = Parts(engine, engine, engine)
    for number in range(6):
        revision = chain(f"{number} lies", parts, constitution)
        assert [s.principle for s in revision.steps if s.round == 1] == ["harm", "lies"]
        assert "<lies>" not in revision.final


def test_a_principle_that_only_judges_is_not_asked_and_one_that_cannot_revise_only_criticises(parts):
    silent = Principle(id="silent", judge="Which is better?")
    critic = Principle(id="harm", critique="Find harm.")
    constitution = Constitution(name="x", principles=(silent, critic), loop=Loop(rounds=3, final_check=True))
    steps = chain("do harm", parts, constitution).steps
    assert [s.principle for s in steps] == ["harm"] * 4
    assert all(s.violated and s.revision is None and not s.changed for s in steps)


def test_few_shots_come_before_the_conversation_in_critique_and_revision_but_not_in_the_draft(parts):
    example = Example(prompt="Hi", reply="Hello", critique_request="Find x.", critique="No change needed.")
    constitution = make_constitution("harm").model_copy(update={"examples": (example,)})
    chain("do harm", parts, constitution)
    draft, critique, revise = (call.turns for call in parts.draft.calls)
    assert [turn.content for turn in draft] == ["do harm"]
    assert [turn.content for turn in critique[:2]] == ["Hi", "Hello"]
    assert critique[4].content == "do harm"
    assert revise[: len(critique)] == critique


def test_a_conversation_of_several_turns_reaches_the_model_whole(parts):
    talk = (
        Message(role="system", content="Be kind: always."),
        Message(role="user", content="Hello: you"),
        Message(role="assistant", content="Hi."),
        Message(role="user", content="do harm"),
    )
    asyncio.run(run_chain(Prompt.of(talk), parts, make_plan(make_constitution("harm"))))
    for call in parts.draft.calls:
        assert [(turn.role, turn.content) for turn in call.turns[:4]] == [(m.role, m.content) for m in talk]


def test_three_models_play_three_parts():
    engines = [ScriptedEngine(behave, model=name) for name in ("d", "c", "r")]
    revision = chain("do harm", Parts(*engines), make_constitution("harm"))
    assert [len(engine.calls) for engine in engines] == [1, 1, 1]
    assert revision.models == {"draft": "d", "critic": "c", "reviser": "r"}


class Numbering(ScriptedEngine):
    """Gives every reply token ids, as a local engine does."""

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling, *, prefill: str = "") -> Completion:
        drawn = await super().generate(turns, sampling, prefill=prefill)
        text = self.pad + drawn.text
        return Completion(text, drawn.finish_reason, drawn.usage, token_ids=tuple(text.encode()))

    pad = ""


def test_token_ids_go_back_to_the_engine_that_drew_them_and_to_no_other():
    one, other = Numbering(behave), Numbering(behave)
    revision = chain("do harm", Parts(one, one, other), make_constitution("harm"))
    critique, revise = one.calls[1].turns, other.calls[0].turns
    assert critique[1].token_ids == tuple(revision.draft.encode())
    assert [turn.token_ids for turn in revise] == [()] * 5
    same = Numbering(behave)
    chain("do harm", Parts(same, same, same), make_constitution("harm"))
    assert [bool(turn.token_ids) for turn in same.calls[2].turns] == [False, True, False, True, False]


def test_token_ids_that_no_longer_spell_the_text_are_left_out():
    padded = Numbering(behave)
    padded.pad = " "
    chain("do harm", Parts(padded, padded, padded), make_constitution("harm"))
    assert all(not turn.token_ids for call in padded.calls for turn in call.turns)


def test_every_call_of_a_run_has_its_own_seed_and_the_same_prompt_has_the_same_ones(parts):
    constitution = make_constitution("harm", "lies", rounds=3, draw="all", final_check=True)
    chain("do harm with lies", parts, constitution)
    seeds = [call.sampling.seed for call in parts.draft.calls]
    assert len(set(seeds)) == len(seeds)
    again = ScriptedEngine(behave)
    chain("do harm with lies", Parts(again, again, again), constitution)
    assert [call.sampling.seed for call in again.calls] == seeds
    other = ScriptedEngine(behave)
    chain("do harm with lies", Parts(other, other, other), constitution, seed=1)
    assert set(seeds).isdisjoint(call.sampling.seed for call in other.calls)


def test_an_empty_draft_is_not_criticised():
    revision = chain("x", scripted("  "), make_constitution("harm"))
    assert (revision.draft, revision.final, revision.steps, revision.flags) == ("", "", (), ("empty",))


def test_an_unreadable_critique_is_unread_and_nothing_is_revised():
    (step,) = chain("x", scripted("A reply.", " \n"), make_constitution("harm")).steps
    assert (step.violated, step.critique, step.revision) == (None, "", None)


@pytest.mark.parametrize(("answer", "flag"), [("", "empty"), ("A reply.", "identical")])
def test_a_revision_that_changes_nothing_leaves_the_reply_criticised(answer, flag):
    revision = chain("x", scripted("A reply.", "It is bad.", answer), make_constitution("harm"))
    assert revision.steps[0].flags == (flag,)
    assert not revision.steps[0].changed
    assert (revision.final, revision.flags) == ("A reply.", ("identical",))


def test_a_later_good_revision_clears_the_flags_of_the_reply_it_replaces():
    parts = scripted("A reply.", "It is bad.", "A reply.", "It is bad.", "A better one.")
    revision = chain("x", parts, make_constitution("harm", rounds=2))
    assert (revision.final, revision.flags) == ("A better one.", ())
    assert revision.steps[0].flags == ("identical",)


def test_answers_cut_at_the_token_limit_are_flagged_where_they_end_up():
    parts = scripted("one two three four five", "No change needed.")
    assert chain("x", parts, make_constitution("harm"), max_tokens=4).flags == ("truncated",)
    parts = scripted("one two", "bad", "a b c d e f")
    revision = chain("x", parts, make_constitution("harm"), max_tokens=4)
    assert (revision.final, revision.flags) == ("a b c d", ("truncated",))


def test_faults_of_an_engine_are_not_swallowed():
    engine = ScriptedEngine(behave, context_length=3)
    with pytest.raises(ContextTooLong):
        chain("a question of five words", Parts(engine, engine, engine), make_constitution("harm"))


def test_tokens_of_all_calls_are_counted(parts):
    revision = chain("do harm", parts, make_constitution("harm"))
    words = sum(parts.draft.count_tokens(call.turns) for call in parts.draft.calls)
    written = sum(len(t.split()) for t in (revision.draft, revision.steps[0].critique, revision.final))
    assert revision.usage == Usage(calls=3, prompt_tokens=words, completion_tokens=written)
