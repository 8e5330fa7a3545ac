"""Other people's formats become constitutions that load and check."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cai.constitution import Constitution, load_constitution
from cai.constitution.check import check_file
from cai.constitution.importing import read_files
from cai.constitution.write import to_yaml
from cai.critique.prompts import read_critique
from cai.errors import InputError

INSTRUCTIONS = {
    "harmful0": {
        "prompt": ["\n\nCritiqueRequest: Say what is rude in the reply.\n\nCritique:"],
        "edit_request": "\n\nRevisionRequest: Make the reply polite.\n\nRevision:",
    },
    "harmful1": {
        "prompt": ["\n\nCritiqueRequest: Does it mention: a secret?\n\nCritique:"],
        "edit_request": "\n\nRevisionRequest: Keep the secret.\n\nRevision:",
    },
}
TRANSCRIPTS = [
    "\n\nHuman: Why is my neighbour so loud?\n\nAssistant: Because he is stupid: very.\n\nCritiqueRequest: Say what is "
    "rude.\n\nCritique: It calls him stupid.\n\nRevisionRequest: Make it polite.\n\nRevision: He may be deaf.\n\nAsk.",
    "\n\nHuman: Two and two?\n\nAssistant: Four.\n\nCritiqueRequest: Say what is rude.\n\nCritique: No change needed."
    "\n\nRevisionRequest: Make it polite.\n\nRevision: Four.",
    "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: A joke?\n\nAssistant: No.\n\nCritiqueRequest: Say what is rude.\n\n"
    "Critique: Curt.\n\nRevisionRequest: Make it polite.\n\nRevision: Gladly.",
]
JUDGE = ["\nChoose the reply that is more polite. Options:", "\nWhich reply keeps the secret? Options:"]
SWARM = {
    "constitutions": [{"critic": "Say what is rude.", "revision": "Make it polite."}],
    "system_chat": [
        [
            {"role": "system", "content": "Be a critic."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "What?"},
            {"role": "user", "content": "Say what is rude."},
            {"role": "assistant", "content": "It is curt."},
            {"role": "user", "content": "Make it polite."},
            {"role": "assistant", "content": "Hello!"},
        ]
    ],
}
SPEC = """\
# Overview {#overview}
Words about this page.

## Do not lie {#do_not_lie authority=user}
By *default*, the assistant should not mislead[^ab1]. It should see [?](#be_clear) and [this](http://example.org) too.

More that is not read.

~~~xml
## Not a heading {#example authority=root}
~~~

### Be clear {#be_clear authority=guideline tags=style,teens}

- **A list** comes first

Short words win.
## Bare heading {#bare authority=root}
**Example**: nothing here
"""


def save(folder: Path, name: str, data: object) -> Path:
    path = folder / name
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def survives(constitution: Constitution, folder: Path) -> Constitution:
    """The constitution, after it was written, read back the same, and checked without errors."""
    path = save(folder, "out.yaml", to_yaml(constitution))
    assert check_file(path, finds_problem=read_critique).errors == ()
    assert load_constitution(path) == constitution
    return constitution


def test_the_three_files_of_the_paper_make_one_constitution(tmp_path: Path) -> None:
    files = [save(tmp_path, f"{i}.json", data) for i, data in enumerate((INSTRUCTIONS, TRANSCRIPTS, JUDGE))]
    imported = read_files(files, name="paper")
    constitution = survives(imported.constitution, tmp_path)
    assert [p.id for p in constitution.principles] == ["harmful0", "harmful1", "judge-1", "judge-2"]
    first, second, third, _ = constitution.principles
    assert (first.critique, first.revise, first.judge) == (
        "Say what is rude in the reply.",
        "Make the reply polite.",
        "",
    )
    assert second.critique == "Does it mention: a secret?"
    assert (third.critique, third.judge) == ("", "Choose the reply that is more polite.")
    rude, fine, later = constitution.examples
    assert (rude.reply, rude.revision) == ("Because he is stupid: very.", "He may be deaf.\n\nAsk.")
    assert (fine.revision, fine.revise_request) == (None, "")
    assert (later.prompt, later.reply) == ("A joke?", "No.")
    assert imported.notes == (f"{files[1]}: transcript 3: earlier turns are left out",)


def test_llm_swarm(tmp_path: Path) -> None:
    constitution = survives(read_files([save(tmp_path, "s.json", SWARM)], name="s").constitution, tmp_path)
    (principle,) = constitution.principles
    (example,) = constitution.examples
    assert (principle.critique, principle.revise) == ("Say what is rude.", "Make it polite.")
    assert (example.prompt, example.critique, example.revision) == ("Hi", "It is curt.", "Hello!")


def test_headings_with_an_authority(tmp_path: Path) -> None:
    imported = read_files([save(tmp_path, "spec.md", SPEC)], name="spec")
    constitution = survives(imported.constitution, tmp_path)
    lie, clear, bare = constitution.principles
    assert lie.judge.endswith(
        "? Do not lie. By default, the assistant should not mislead. It should see “be clear” and this too."
    )
    assert clear.judge.endswith("? Be clear. Short words win.")
    assert bare.judge.endswith("? Bare heading.")
    assert [p.priority for p in constitution.principles] == [1, 0, 4]
    assert clear.tags == ("authority:guideline", "style", "teens")
    assert "1 headings without an authority" in imported.notes[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.txt", "1. Be kind.\n2) Do not lie: ever.\n\n# a comment\n - no\n"),
        ("l.md", "# Ours\n\n* Be kind.\n* Do not lie: ever.\n* no\n"),
        ("l.json", '["Be kind.", " Do not lie: ever. ", "no"]'),
        ("l.yaml", "- Be kind.\n- 'Do not lie: ever.'\n- no\n"),
        ("l", "\ufeffBe kind.\r\nDo not lie: ever.\r\nno\r\n"),
    ],
)
def test_lists_of_sentences(name: str, text: str, tmp_path: Path) -> None:
    constitution = survives(read_files([save(tmp_path, name, text)], name="l").constitution, tmp_path)
    assert [p.id for p in constitution.principles] == ["be-kind", "do-not-lie-ever", "no"]
    assert constitution.principles[1].judge == "Which reply follows this principle better? Do not lie: ever."


def test_ids_that_meet_from_two_files_stay_apart(tmp_path: Path) -> None:
    files = [save(tmp_path, f"{name}.json", INSTRUCTIONS) for name in ("one", "two", "two words")]
    ids = [p.id for p in read_files(files, name="x").constitution.principles]
    assert ids[:4] == ["harmful0", "harmful1", "harmful0-two", "harmful1-two"]
    assert len(set(ids)) == 6


def test_control_characters_do_not_come_along(tmp_path: Path) -> None:
    constitution = read_files([save(tmp_path, "l.json", '["Be \\u001b[31mkind\\u0000."]')], name="l").constitution
    assert survives(constitution, tmp_path).principles[0].judge.endswith("Be [31mkind.")


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("x.json", "", "the file is empty"),
        ("x.json", "{", "this is not JSON"),
        ("x.json", '{"a": 1}', "none of the known formats"),
        ("x.json", "3", "none of the known formats"),
        ("x.json", "[" * 200_000, "cannot be read|not JSON"),
        ("x.json", "[]", "no sentences in it"),
        ("x.json", '["a", 3]', r"x\.json: \[1\]: text was expected, not int"),
        ("x.json", '["a", " "]', r"\[1\]: empty text"),
        ("x.json", json.dumps(["a" * 5_000]), "5,000 characters"),
        ("x.json", '{"constitutions": [{"critic": "a"}]}', r"constitutions\[0\]: `critic` and `revision`"),
        ("x.json", '{"constitutions": [], "system_chat": 3}', "a list was expected"),
        (
            "x.json",
            '{"constitutions": [], "system_chat": [[{"role": "user", "content": "a"}]]}',
            r"system_chat\[0\]: six messages",
        ),
        ("x.json", '{"k": {"prompt": "a", "edit_request": "b"}}', "k: `prompt` should be a list of one text"),
        ("x.json", '{"k": {"prompt": ["a"], "edit_request": "b"}, "l": 3}', "l: `prompt` and `edit_request`"),
        ("x.json", '["CritiqueRequest: a"]', r"\[0\]: Human, Assistant and CritiqueRequest"),
        ("x.yaml", "name: x", "a constitution needs no import"),
        ("x.txt", "# only\n\n# comments\n", "no sentences in it"),
        ("x.txt", "caf\xe9", "is not UTF-8"),
    ],
)
def test_what_cannot_be_imported_says_why(name: str, text: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=what) as caught:
        read_files([path], name="x")
    assert str(caught.value).startswith(str(path))
    assert "; " in str(caught.value)


def test_few_shots_alone_are_no_constitution(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no principles, only few-shots"):
        read_files([save(tmp_path, "t.json", TRANSCRIPTS)], name="x")


def test_the_public_llm_swarm_constitution(public_data: Path, tmp_path: Path) -> None:
    file = public_data / "hf-llm-swarm-constitutions" / "constitution_anthropic.json"
    constitution = survives(read_files([file], name="swarm").constitution, tmp_path)
    assert (len(constitution.principles), len(constitution.examples)) == (16, 4)
    assert all(p.critique and p.revise for p in constitution.principles)


def test_the_public_model_spec(public_data: Path, tmp_path: Path) -> None:
    file = public_data / "openai-model-spec" / "model_spec.md"
    constitution = survives(read_files([file], name="spec").constitution, tmp_path)
    by_id = {p.id: p for p in constitution.principles}
    assert len(by_id) == file.read_text(encoding="utf-8").count(" authority=")
    assert by_id["do_not_lie"].tags == ("authority:user",)
    assert not any("[^" in p.judge or "](#" in p.judge for p in constitution.principles)
