"""A principle's text is a value: it comes through every prompt word for word, and nothing in it is filled in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cai.cli.rendered import FENCE, PROMPT, rendered
from cai.constitution import load_constitution
from cai.constitution.write import to_yaml
from cai.critique.prompts import NO_CHANGE, critique_turns, revise_turns
from cai.engine.protocol import Turn
from cai.judge.prompts import ask_letter, pair_text

GOLDEN = Path(__file__).parent / "golden"

PAYLOADS = [
    "{{ 7 * 7 }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "{critique} {revise} {judge} {sentence} {K}",
    "{0} {} {0.__class__.__init__.__globals__}",
    "%s %(name)s %n",
    "$HOME ${HOME} $(touch canary) `touch canary`",
    "#{7*7} <%= 7*7 %> @{7*7}",
    "__import__('os').system('touch canary')",
    "!!python/object/apply:os.system ['touch canary']",
    "\\1 \\g<0> \\x41 \\N{BULLET}",
    "[bold red]x[/bold red] [/INST] <|im_end|>",
    "a\nb\n\n\nc",
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_in_a_principle_is_filled_in(payload: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "c.yaml"
    quoted = json.dumps(payload)
    text = f"name: x\nprinciples:\n  - {{id: p, critique: {quoted}, revise: {quoted}, judge: {quoted}}}\n"
    path.write_text(text, encoding="utf-8")
    constitution = load_constitution(path)
    (principle,) = constitution.principles
    assert principle.critique == principle.revise == principle.judge == payload

    asked = critique_turns(PROMPT, Turn("assistant", "reply"), principle)
    assert asked[-1].content == f"{payload}\nIf nothing breaks it, answer only: {NO_CHANGE}"
    revised = revise_turns(asked, Turn("assistant", "critique"), principle)
    assert revised[-1].content == f"{payload}\nAnswer with the new reply only."
    pair = pair_text(PROMPT, "a", "b", "ab", FENCE)
    assert ask_letter(pair, principle.judge) == f"{pair}\n{payload}\nAnswer with one letter, A or B."

    path.write_text(to_yaml(constitution), encoding="utf-8")
    assert load_constitution(path) == constitution
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_in_a_sentence_is_filled_in(payload: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("name: x\nprinciples:\n  - |-\n" + "".join(f"    {line}\n" for line in payload.split("\n")))
    (principle,) = load_constitution(path).principles
    assert principle.critique == f"Check your last reply against this principle: {payload}"
    assert principle.judge == f"Which reply follows this principle better? {payload}"


@pytest.mark.parametrize("name", ["default", "minimal", "placebo", "with-examples"])
def test_rendered_prompts_are_the_ones_we_agreed_on(name: str) -> None:
    file = GOLDEN / f"{name}.txt"
    source = GOLDEN / f"{name}.yaml"
    constitution = load_constitution(source if source.exists() else name)
    text = "\n".join(rendered(constitution, constitution.principles)) + "\n"
    assert text == file.read_text(encoding="utf-8"), f"if this is meant: cai constitution show {name} > {file}"


def test_rendering_escapes_what_a_terminal_would_obey(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("name: x\nprinciples: ['a \u202e b \u2066 c']\n", encoding="utf-8")
    constitution = load_constitution(path)
    text = "\n".join(rendered(constitution, constitution.principles))
    assert "\u202e" not in text
    assert "a \\u202e b \\u2066 c" in text
