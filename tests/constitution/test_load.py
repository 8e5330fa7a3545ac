"""From files to resolved constitutions: the library, derived voices, few-shots, and every problem at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cai.constitution import Principle, inspect, load_constitution
from cai.errors import InputError


def write(folder: Path, text: str, name: str = "c.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str) -> list[str]:
    """The problems of a text without the folder in front."""
    return [str(problem).removeprefix(f"{folder}/") for problem in inspect(write(folder, text)).problems]


def test_a_plain_sentence_is_a_whole_principle(tmp_path: Path) -> None:
    (principle,) = load_constitution(write(tmp_path, "name: x\nprinciples:\n  - Be kind, please.\n")).principles
    assert principle == Principle(
        id="be-kind-please",
        critique="Check your last reply against this principle: Be kind, please.",
        revise="Rewrite your last reply so that it follows this principle: Be kind, please.",
        judge="Which reply follows this principle better? Be kind, please.",
    )


def test_a_voice_beside_a_sentence_replaces_the_derived_one(tmp_path: Path) -> None:
    text = "name: x\nprinciples:\n  - {id: k, sentence: Be kind., judge: Which is kinder?, weight: 2, tags: [a]}\n"
    (principle,) = load_constitution(write(tmp_path, text)).principles
    assert principle.judge == "Which is kinder?"
    assert principle.critique.endswith("Be kind.")
    assert (principle.weight, principle.tags) == (2.0, ("a",))


def test_the_same_sentence_twice_gets_two_ids(tmp_path: Path) -> None:
    constitution = load_constitution(write(tmp_path, "name: x\nprinciples: [Be kind., Be kind., 你好, 再见]\n"))
    assert [p.id for p in constitution.principles] == ["be-kind", "be-kind-2", "principle", "principle-2"]


def test_use_takes_one_principle_or_a_family_in_its_order(tmp_path: Path) -> None:
    text = "name: x\nuse:\n  - tone/no-filler\n  - autonomy\n  - {id: privacy/no-spying, weight: 3, priority: 1}\n"
    constitution = load_constitution(write(tmp_path, text))
    assert [p.id for p in constitution.principles] == [
        "tone/no-filler",
        "autonomy/respect-choices",
        "autonomy/inform-do-not-steer",
        "autonomy/trust-the-user",
        "privacy/no-spying",
    ]
    assert (constitution.principles[-1].weight, constitution.principles[-1].priority) == (3.0, 1)


def test_a_later_entry_changes_the_weight_of_one_of_a_family(tmp_path: Path) -> None:
    text = "name: x\nuse: [autonomy, {id: autonomy/trust-the-user, weight: 4}]\n"
    constitution = load_constitution(write(tmp_path, text))
    assert [p.weight for p in constitution.principles] == [1.0, 1.0, 4.0]


def test_a_family_beside_the_file_comes_before_the_shipped_one(tmp_path: Path) -> None:
    write(tmp_path, "family: tone\nprinciples:\n  - {id: loud, sentence: Speak up.}\n", "principles/tone.yaml")
    beside = write(tmp_path, "name: x\nuse: [tone, privacy/no-spying]\n")
    inside = write(tmp_path, "name: x\nuse: [tone, privacy/no-spying]\n", "constitution/c.yaml")
    for path in (beside, inside):
        assert [p.id for p in load_constitution(path).principles] == ["tone/loud", "privacy/no-spying"]


def test_an_empty_list_is_a_placebo_and_nothing_at_all_an_error(tmp_path: Path) -> None:
    assert load_constitution(write(tmp_path, "name: x\nprinciples: []\n")).principles == ()
    assert problems(tmp_path, "name: x\n") == [
        "c.yaml:1:1: no principles; add `use:` or `principles:` (`principles: []` for a placebo)"
    ]


def test_examples_ask_with_a_principle_or_with_words_of_their_own(tmp_path: Path) -> None:
    text = """
name: x
principles:
  - {id: kind, critique: Is it kind?, revise: Make it kind., judge: Which is kinder?}
examples:
  - {prompt: p, reply: r, principle: kind, critique: It is not., revision: better}
  - {prompt: p, reply: r, principle: tone/no-filler, critique: No change needed.}
  - {prompt: p, reply: r, critique_request: Own?, critique: Bad., revise_request: Mend., revision: better}
judge_examples:
  - {prompt: p, a: one, b: two, principle: kind, answer: B}
  - {prompt: p, a: one, b: two, judge: Own?, answer: A}
"""
    constitution = load_constitution(write(tmp_path, text))
    first, noop, own = constitution.examples
    assert (first.critique_request, first.revise_request) == ("Is it kind?", "Make it kind.")
    assert noop.critique_request.startswith("Every sentence should say something.")
    assert (noop.revise_request, noop.revision) == ("", None)
    assert (own.critique_request, own.revise_request) == ("Own?", "Mend.")
    assert [example.judge for example in constitution.judge_examples] == ["Which is kinder?", "Own?"]


def test_sha_depends_on_meaning_and_on_nothing_else(tmp_path: Path) -> None:
    base = load_constitution(write(tmp_path, "name: x\nprinciples: [Be kind.]\n"))
    same = load_constitution(write(tmp_path, "# note\nprinciples:\n  - 'Be kind.'\ndescription: d\nname: y\n"))
    assert same.sha == base.sha
    for other in ("principles: [Be kind]", "principles: [Be kind.]\nloop: {rounds: 2}"):
        assert load_constitution(write(tmp_path, f"name: x\n{other}\n")).sha != base.sha


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    text = """\
name: x
descripton: y
use:
  - honesty/no-fabricaton
  - tonne
  - {id: tone/no-filler, weigth: 2}
  - tone/no-filler
  - tone/no-filler
principles:
  - {id: a, critique: only}
  - 42
  - {id: b, judge: Which?, weight: .inf}
  - {id: b, judge: Which?}
  - {id: b, judge: Which?}
  - ''
examples:
  - {prompt: hi, reply: x, principle: bb, critique: c}
  - {prompt: hi, reply: x, principle: b, critique: c}
loop: {rounds: 99, draw: cycel}
name: z
"""
    assert problems(tmp_path, text) == [
        "c.yaml:2:1: descripton: unknown key `descripton`; did you mean `description`?",
        "c.yaml:4:5: use[0]: the family `honesty` has no principle `no-fabricaton`; "
        "did you mean `honesty/no-fabrication`?",
        "c.yaml:5:5: use[1]: there is no family `tonne`; did you mean `tone`?",
        "c.yaml:6:26: use[2].weigth: unknown key `weigth`; did you mean `weight`?",
        "c.yaml:8:5: use[4]: a principle with the id `tone/no-filler` is already there; give this one another id",
        "c.yaml:10:5: principles[0]: critique and revise belong together and `revise` is missing; add `revise:`",
        "c.yaml:11:5: principles[1]: must be text or a mapping, not `42`; write one of these",
        "c.yaml:12:36: principles[2].weight: must be a finite number, not `inf`; write a plain number",
        "c.yaml:14:5: principles[4]: a principle with the id `b` is already there; give this one another id",
        "c.yaml:15:5: principles[5]: must not be empty; write a value, or leave the key out",
        "c.yaml:17:39: examples[0].principle: this constitution has no principle `bb`; did you mean `b`?",
        "c.yaml:18:39: examples[1].principle: `b` has no critique voice to ask with; "
        "give the principle `critique:`, or the example a text of its own",
        "c.yaml:19:16: loop.rounds: must be less than or equal to 32, not `99`; change it",
        "c.yaml:19:26: loop.draw: `cycel` is not an option here; did you mean `cycle`?",
        "c.yaml:20:1: the key `name` is already on line 1; keep one of the two",
    ]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("base_url: http://example.org", "base_url"),
        ("model: gpt", "model"),
        ("endpoint: http://example.org", "endpoint"),
        ("loop: {api_key: x}", "api_key"),
        ("examples: [{prompt: a, reply: b, critique_request: c, critique: d, url: http://example.org}]", "url"),
    ],
)
def test_a_constitution_cannot_say_where_data_goes(text: str, key: str, tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, f"name: x\nprinciples: [Be kind.]\n{text}\n")
    assert f"unknown key `{key}`; a constitution never names a model or a server" in problem


@pytest.mark.parametrize("reference", ["../secrets", "/etc/x", "tone/../../x", "tone/no-filler/x", "a b", "~/x", ""])
def test_use_cannot_leave_the_library(reference: str, tmp_path: Path) -> None:
    assert len(problems(tmp_path, f"name: x\nuse: ['{reference}']\n")) == 1


def test_problems_in_a_family_are_reported_in_its_own_file(tmp_path: Path) -> None:
    write(
        tmp_path,
        "family: toan\nprinciples:\n  - {id: a, judge: W?}\n  - {id: a, judge: W?}\n  - {id: tone/b, judge: W?}\n",
        "principles/tone.yaml",
    )
    assert problems(tmp_path, "name: x\nuse: [tone]\n") == [
        "principles/tone.yaml:1:9: family: the family is named `toan` and the file `tone.yaml`; write `family: tone`",
        "principles/tone.yaml:4:5: principles[1]: a principle with the id `tone/a` is already there; "
        "give this one another id",
        "principles/tone.yaml:5:10: principles[2].id: the id `tone/b` holds a slash, and the family's name comes "
        "before it by itself; write the part after the slash",
    ]


def test_a_broken_family_is_reported_once_and_hides_nothing(tmp_path: Path) -> None:
    write(tmp_path, "family: tone\nprinciples: 3\n", "principles/tone.yaml")
    assert problems(tmp_path, "name: x\nuse: [tone/a, tone/b, no-spying, honesty/no-spying]\n") == [
        "c.yaml:2:23: use[2]: there is no family `no-spying`; did you mean `privacy/no-spying`?",
        "c.yaml:2:34: use[3]: the family `honesty` has no principle `no-spying`; did you mean `privacy/no-spying`?",
        "principles/tone.yaml:2:13: principles: must be a list, not `3`; "
        "write [one, two], or start each item with `- `",
    ]


def test_names_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_constitution("minimal").name == "minimal"
    with pytest.raises(InputError, match=r"there is no constitution `defualt`; did you mean `default`\?"):
        load_constitution("defualt")
    with pytest.raises(InputError, match=r"none\.yaml: no such file"):
        load_constitution("none.yaml")
    monkeypatch.chdir(write(tmp_path, "name: x\nprinciples: [a]\n", "mine").parent)
    assert load_constitution("mine").name == "x"
    write(tmp_path, "name: y\nprinciples: [a]\n", "constitution/ours.yaml")
    with pytest.raises(InputError, match=r"did you mean the file `constitution/ours\.yaml`\?"):
        load_constitution("ours")


def test_every_problem_of_a_family_is_reported_though_one_item_does_not_fit(tmp_path: Path) -> None:
    family = "family: mine\nprinciples:\n  - {id: a, judge: W?}\n  - {id: a, judge: W?}\n  - {id: b}\n"
    write(tmp_path, family, "principles/mine.yaml")
    assert [problem.split(": ")[0] for problem in problems(tmp_path, "name: x\nuse: [mine]\n")] == [
        "principles/mine.yaml:4:5",
        "principles/mine.yaml:5:5",
    ]


def test_too_much_is_refused_soon_and_in_words(tmp_path: Path) -> None:
    began = time.perf_counter()
    found = problems(tmp_path, "name: x\nuse:\n" + "".join(f"- nofamily{n}/x\n" for n in range(12_000)))
    assert time.perf_counter() - began < 3
    assert found[0] == "c.yaml:3:1: use: 12,000 items, more than 1,000; leave some out"
    assert len(found) == 1_001


def test_a_suggestion_is_like_the_id_and_not_like_its_family(tmp_path: Path) -> None:
    first, second = problems(tmp_path, "name: x\nuse: [harmlessness/x, harmlessness/no-help-with-ham]\n")
    assert "it has no-help-with-harm, " in first
    assert "did you mean `harmlessness/no-help-with-harm`?" in second
