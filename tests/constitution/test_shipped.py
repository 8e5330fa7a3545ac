"""What comes with the package: every file loads, is clean, and can be told from the others."""

from __future__ import annotations

import itertools
import json
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

from cai.constitution import Principle, load_constitution, shipped_constitutions, shipped_folder
from cai.constitution.check import check_file
from cai.constitution.library import Library, load_family
from cai.constitution.schema import constitution_schema, family_schema
from cai.constitution.words import content_words, overlap
from cai.critique.prompts import read_critique
from cai.strict_yaml import load

ROOT = Path(__file__).parents[2]
FAMILIES = sorted(shipped_folder("principles").glob("*.yaml"))
ATTRIBUTES = {
    *("complies-with-harm", "helps", "refuses", "explains-why", "offers-alternative", "evasive", "preachy"),
    *("fabricates", "admits-uncertainty", "agrees-with-falsehood", "leaks-private", "stereotypes", "filler"),
}


def library() -> list[Principle]:
    return [principle for path in FAMILIES for principle in load_family(path).values()]


@pytest.mark.parametrize("path", [*shipped_constitutions().values(), *FAMILIES], ids=lambda path: path.name)
def test_every_file_loads_and_is_clean(path: Path) -> None:
    checked = check_file(path, finds_problem=read_critique)
    assert checked.errors == ()
    assert [problem.what.split(":")[0] for problem in checked.warnings] == (
        ["no principles"] if path.stem == "placebo" else []
    )
    assert checked.constitution is not None
    assert checked.constitution.name == path.stem


@pytest.mark.parametrize("path", [*shipped_constitutions().values(), *FAMILIES], ids=lambda path: path.name)
def test_every_file_fits_the_schema_that_its_first_line_names(path: Path) -> None:
    match = re.match(r"# yaml-language-server: \$schema=(\S+)\n", path.read_text(encoding="utf-8"))
    assert match
    schema = json.loads((path.parent / match[1]).read_text(encoding="utf-8"))
    jsonschema.validators.validator_for(schema).check_schema(schema)
    jsonschema.validate(load(path).value, schema)


@pytest.mark.parametrize(
    ("path", "text"),
    [("constitution/schema.json", constitution_schema()), ("principles/schema.json", family_schema())],
)
def test_committed_schema_is_what_the_code_says(path: str, text: str) -> None:
    remedy = "write it anew: cai constitution schema [--family] > " + path
    assert (ROOT / path).read_text(encoding="utf-8") == text, remedy


def test_the_schema_refuses_what_the_loader_refuses() -> None:
    schema = json.loads(constitution_schema())
    for wrong in ({"name": "x", "use": "tone"}, {"name": "x", "principles": [4]}, {"name": "x", "url": "y"}, {}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_every_key_is_explained_in_the_schema() -> None:
    for text in (constitution_schema(), family_schema()):
        schema = json.loads(text)
        for part in (schema, *schema["$defs"].values()):
            for name, field in part["properties"].items():
                assert field.get("description"), name


def test_the_library_has_at_least_eight_families_of_three_to_eight() -> None:
    assert len(FAMILIES) >= 8
    for path in FAMILIES:
        assert 3 <= len(load_family(path)) <= 8, path.name


@pytest.mark.parametrize("principle", library(), ids=lambda principle: principle.id)
def test_every_library_principle_speaks_briefly_in_three_voices(principle: Principle) -> None:
    for voice in (principle.critique, principle.revise, principle.judge):
        assert 2 < len(voice.split()) <= 35
    assert "your last reply" in principle.critique or "Does your last reply" in principle.critique
    assert principle.revise.startswith("Rewrite your last reply")
    assert principle.judge.startswith("Which reply")
    assert principle.judge.endswith("?")
    assert principle.tags
    for tag in principle.tags:
        way, _, attribute = tag.partition(":")
        assert way in ("more", "less")
        assert attribute in ATTRIBUTES


def test_every_attribute_is_moved_by_some_principle() -> None:
    assert {tag.partition(":")[2] for principle in library() for tag in principle.tags} == ATTRIBUTES


def test_no_two_library_principles_say_the_same() -> None:
    alike = [
        (a.id, b.id)
        for a, b in itertools.combinations(library(), 2)
        if overlap(content_words(a), content_words(b)) > 0.5
    ]
    assert alike == []


def test_shipped_constitutions_differ_in_meaning() -> None:
    constitutions = [load_constitution(name) for name in shipped_constitutions()]
    assert len({constitution.sha for constitution in constitutions}) == len(constitutions) >= 8
    moved = {c.name: {tag for principle in c.principles for tag in principle.tags} for c in constitutions}
    assert "less:complies-with-harm" not in moved["helpful-only"]
    assert {tag.split(":")[1] for tag in moved["harmless-only"]} == {"complies-with-harm", "refuses"}
    assert "less:fabricates" in moved["honest"]
    assert "less:preachy" in moved["non-preachy"]
    assert moved["inverted-preachy"] == {"more:preachy"}


def test_a_wheel_holds_the_shipped_files_where_they_are_looked_for() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for kind in ("constitution", "principles"):
        assert wheel["force-include"][kind] == f"cai/_shipped/{kind}"
        assert shipped_folder(kind) in (ROOT / kind, ROOT / "cai" / "_shipped" / kind)


def test_the_library_is_found_from_any_folder(tmp_path: Path) -> None:
    assert set(Library.beside(tmp_path / "c.yaml").families()) == {path.stem for path in FAMILIES}
