"""Whole comparisons of made runs: what was planted is found, what was not is not."""

import time

import pytest

from cai.cli.table import table_lines
from cai.compare.assemble import assemble, with_drafts
from cai.compare.judged import judge_all
from cai.compare.neutral import HARM, NAME, USE
from cai.compare.principles import overlaps, rates, votes
from cai.compare.report.charts import pareto
from cai.compare.report.markdown import markdown, plain
from cai.compare.scoring import Hearing
from cai.compare.sides import DRAFTS, pair, read_sides
from cai.errors import InputError
from cai.records import Step
from cai.testbed.world.requests import requests
from tests.compare.made import (
    GIVES,
    SORRY,
    ask,
    chain,
    label,
    planted,
    refusing,
    side,
    stored,
)

HARMFUL = "oracle: harmful"


@pytest.fixture(scope="module")
def asked():
    return requests("test", 160, 3, ("harmful", "benign"))


def contrast_of(result, a, b, outcome):
    return next(c for c in result.contrasts if (c.a, c.b, c.outcome) == (a, b, outcome))


def test_planted_harm_is_found_with_its_sign_and_said_first(asked):
    result = assemble([side("lax", planted(asked, 0.8, 0.1, 1)), side("firm", planted(asked, 0.1, 0.1, 2))])
    found = contrast_of(result, "lax", "firm", HARMFUL)
    assert found.shown
    assert found.improves
    assert -0.85 < found.difference < -0.5
    assert not contrast_of(result, "lax", "firm", "oracle: preachy").shown
    assert "points fewer harmful replies, 95 % interval" in result.headline[0]
    assert "no difference shown in helpful replies" in result.headline[0]
    assert result.flips[0].lost == () or result.flips[0].better <= 0


def test_the_same_run_twice_shows_nothing(asked):
    chains = planted(asked, 0.5, 0.3, 1)
    result = assemble([side("a", chains), side("b", chains)])
    pairs = [c for c in result.contrasts if (c.a, c.b) == ("a", "b")]
    assert pairs
    assert not any(c.shown for c in pairs)
    assert all(c.low <= 0 <= c.high for c in pairs)
    assert result.flips == ()


def test_drafts_are_a_control_only_where_both_began_alike():
    same = [refusing("a", 30, 0.0, 1), refusing("b", 30, 1.0, 2)]
    result = assemble(same)
    assert [o.name for o in result.origins] == [DRAFTS, "a", "b"]
    assert not contrast_of(result, DRAFTS, "a", "refusal").shown
    assert contrast_of(result, DRAFTS, "b", "refusal").shown
    other = side("c", [c.model_copy(update={"draft": "x"}) for c in same[1].chains.values()])
    notes = assemble([same[0], other]).notes
    assert any("different drafts" in note for note in notes)


def test_unpaired_prompts_are_counted_and_strangers_refused():
    result = assemble([refusing("a", 30, 0.5, 1), refusing("b", 30, 0.5, 2, start=10)])
    assert (result.n, result.unpaired) == (20, 20)
    with pytest.raises(InputError, match="no prompt in common"):
        assemble([refusing("a", 5, 0.5, 1), refusing("b", 5, 0.5, 1, start=10)])


def test_rates_of_principles_by_hand():
    def step(name, violated, changed):
        revision = "r" if changed else None
        return Step(round=0, principle=name, critique="c", violated=violated, revision=revision, changed=changed)

    chains = [
        chain(ask("1"), GIVES, SORRY, steps=[step("x", True, True), step("x", False, False)]),
        chain(ask("2"), GIVES, GIVES, steps=[step("x", None, False), step("y", True, False)]),
    ]
    one = side("a", chains)
    x, y = rates(pair([one, one]), one)
    assert (x.principle, x.fired.count, x.fired.n) == ("x", 2, 2)
    assert (x.violated.count, x.changed.count, x.violated.n, x.unread) == (1, 1, 3, 1)
    assert (y.fired.count, y.violated.count, y.changed.count) == (1, 1, 0)


def said(p_more, p_less, n):
    return [
        label(ask(f"q{i}"), ("a", "b"), [(0, 1, {"more": p_more(i), "less": p_less(i), "same": p_more(i)})])
        for i in range(n)
    ]


def test_contradictory_principles_conflict_and_equal_ones_are_redundant():
    labels = said(lambda i: 0.9 if i % 3 else 0.2, lambda i: 0.2 if i % 3 else 0.9, 60)
    found = {(two.x, two.y): two.verdict for two in overlaps("c", votes(labels))}
    assert found == {("less", "more"): "conflict", ("less", "same"): "conflict", ("more", "same"): "redundant"}


def test_independent_principles_are_neither():
    labels = said(lambda i: 0.9 if i % 2 else 0.2, lambda i: 0.9 if i % 4 < 2 else 0.2, 80)
    found = {(two.x, two.y): two.verdict for two in overlaps("c", votes(labels))}
    assert found["less", "more"] == ""


def test_win_shares_by_hand():
    # Four prompts: b wins two, a wins one, one has equal replies: 2.5 of 4.
    finals = {"a": {}, "b": {}}
    labels = []
    for index, p_a in enumerate((0.1, 0.2, 0.9, None)):
        prompt = ask(f"q{index}")
        finals["a"][prompt.id], finals["b"][prompt.id] = "one", "one" if p_a is None else "two"
        replies = ("one",) if p_a is None else ("one", "two")
        labels.append(label(prompt, replies, [] if p_a is None else [(0, 1, {"x": p_a})]))
    (match,) = judge_all([Hearing("j", True, tuple(labels))], finals, 0).matches
    assert (match.wins, match.losses, match.ties, match.equal, match.unread) == (2, 1, 0, 1, 0)
    assert match.win_share == pytest.approx(0.625)


def test_standings_and_the_chart_without_an_oracle_by_hand():
    # Side b beats a for harm on every prompt, and loses for use on every second one, where their replies tie else.
    sides = [refusing("a", 20, 0.0, 1), refusing("b", 20, 1.0, 2)]
    labels = [
        label(prompt, (GIVES, SORRY), [(0, 1, {HARM: 0.1, USE: 0.9 if n % 2 else 0.5})])
        for n, prompt in enumerate(pair(sides).prompts)
    ]
    result = assemble(sides, hearings=[Hearing(NAME, True, tuple(labels)), Hearing("own", False, tuple(labels))])
    scores = {(s.side, s.principle): (s.value, s.n) for s in result.judging.standings}
    # The draft is GIVES too: a ties with it everywhere, b meets the same reply twice.
    assert {s.judge for s in result.judging.standings} == {NAME}
    assert scores["b", HARM] == (1.0, 20)
    assert scores["a", HARM] == (0.25, 20)
    assert scores["b", USE] == (0.25, 20)
    assert scores["a", USE] == (pytest.approx(0.625), 20)
    chart = pareto(result)
    assert "b: less harmful than the others in 100.0 %, more helpful in 25.0 %, n = 20" in chart.words[2]
    assert pareto(assemble(sides)) is None


def test_one_question_in_many_wordings_is_one_before_a_judge_too():
    prompts = [ask(f"How do I lend a lamp{'!' * n}") for n in range(20)]
    sides = [side(name, [chain(p, "d", name) for p in prompts]) for name in ("a", "b")]
    labels = [label(prompt, ("a", "b"), [(0, 1, {"x": 0.1})]) for prompt in prompts]
    (match,) = judge_all(
        [Hearing("j", True, tuple(labels))], {s.name: {p.id: s.name for p in prompts} for s in sides}, 0
    ).matches
    assert (match.n, match.win_share, match.low, match.shown) == (20, 1.0, None, False)


def test_three_contestants_get_strengths():
    finals = {name: {} for name in ("a", "b", "c")}
    labels = []
    for index in range(30):
        prompt = ask(f"q{index}")
        for name in finals:
            finals[name][prompt.id] = f"reply {name}"
        replies = tuple(f"reply {name}" for name in finals)
        labels.append(label(prompt, replies, [(0, 1, {"x": 0.8}), (0, 2, {"x": 0.9}), (1, 2, {"x": 0.7})]))
    strengths = {s.side: s.value for s in judge_all([Hearing("j", True, tuple(labels))], finals, 0).strengths}
    assert strengths["a"] > strengths["b"] > strengths["c"]


def test_leaving_out_the_principle_that_works_shows(asked):
    whole = side("c", planted(asked, 0.1, 0.1, 1))
    variants = {
        "works": side("v", planted(asked, 0.8, 0.1, 2)),
        "idle": side("w", planted(asked, 0.1, 0.1, 1)),
    }
    other = side("d", planted(asked, 0.1, 0.1, 1))
    result = assemble([whole, other], leave_outs={"c": variants})
    assert {effect.principle: effect.works for effect in result.effects} == {"works": True, "idle": False}


@pytest.mark.slow
def test_ten_thousand_records_a_run_take_seconds(tmp_path):
    prompts = [ask(f"Question {n}: how do I carry a lamp to the window?") for n in range(10_000)]
    for name, every in (("x", 3), ("y", 2)):
        chains = [chain(p, GIVES, SORRY if n % every == 0 else f"{GIVES} {n % 97}") for n, p in enumerate(prompts)]
        stored(tmp_path, name, chains)
    started = time.process_time()
    sides = read_sides(tmp_path, ["x", "y"])
    result = assemble(sides)
    seconds = time.process_time() - started
    print(f"10,000 records each: {seconds:.1f} s of processor time")
    assert result.n == 10_000
    assert contrast_of(result, "x", "y", "refusal").difference == pytest.approx(5000 / 10000 - 3334 / 10000)
    assert seconds < 10


def test_markdown_lets_no_text_become_markup():
    text = "<b>![x](http://example.invalid) | `a` \x1b[2J\n# head"
    sides = [refusing("a", 20, 0.0, 1), refusing(text, 20, 1.0, 2)]
    written = markdown(assemble(sides), with_drafts(pair(sides)))
    assert "\x1b" not in written
    assert "![x]" not in written
    assert "<b>" not in written
    assert plain("a|b\nc") == "a\\|b c"
    assert table_lines([["a"]])
