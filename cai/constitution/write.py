"""A constitution as YAML that a person goes on editing, and that the strict reader reads back unchanged."""

from __future__ import annotations

from typing import Any, cast

import yaml

from cai.constitution.model import CRITIQUE_TEMPLATE, Constitution, Example, JudgeExample, Principle
from cai.strict_yaml.parse import is_plain_text

MODELINE = "# yaml-language-server: $schema={schema}"
WIDTH = 110
_DEFAULT = Principle(id="")


class _Dumper(yaml.SafeDumper):
    """Indents lists, folds long text, and quotes what YAML 1.2 would read as something else than text."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None
    if "\n" in text:
        style = "|"
    elif len(text) > 80:
        style = ">"
    elif not is_plain_text(text):
        style = "'"
    represent: Any = cast(Any, dumper).represent_scalar
    return represent("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def to_yaml(constitution: Constitution, *, schema: str = "schema.json", note: str = "") -> str:
    """The text of a file that resolves to this constitution by itself, without the library.

    `note` becomes a comment under the modeline. Loading the text gives a constitution with the same sha.
    """
    lines = [MODELINE.replace("{schema}", schema), *(f"# {line}" for line in note.splitlines())]
    parts = [_dump({key: value}) for key, value in _source(constitution).items()]
    return "\n".join(lines) + "\n" + "\n".join(parts)


def _dump(value: dict[str, Any]) -> str:
    options: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": WIDTH}
    return cast(str, yaml.dump(value, Dumper=_Dumper, **options))


def _source(constitution: Constitution) -> dict[str, Any]:
    source: dict[str, Any] = {"name": constitution.name}
    if constitution.description:
        source["description"] = constitution.description
    source["principles"] = [_principle(principle) for principle in constitution.principles]
    if constitution.examples:
        source["examples"] = [_example(example) for example in constitution.examples]
    if constitution.judge_examples:
        source["judge_examples"] = [_judge_example(example) for example in constitution.judge_examples]
    source["loop"] = constitution.loop.model_dump()
    return source


def _principle(principle: Principle) -> dict[str, Any]:
    """Only what differs from the default; voices that follow from one sentence as that sentence."""
    given: dict[str, Any] = {"id": principle.id}
    sentence = principle.critique.removeprefix(CRITIQUE_TEMPLATE.partition("{")[0])
    if (
        sentence
        and principle.critique
        and Principle.from_sentence(principle.id, sentence)
        == principle.model_copy(update={"weight": 1.0, "priority": 0, "tags": ()})
    ):
        given["sentence"] = sentence
    else:
        given |= {voice: text for voice in ("critique", "revise", "judge") if (text := getattr(principle, voice))}
    for name in ("weight", "priority"):
        if getattr(principle, name) != getattr(_DEFAULT, name):
            given[name] = getattr(principle, name)
    if principle.tags:
        given["tags"] = list(principle.tags)
    return given


def _example(example: Example) -> dict[str, Any]:
    return {key: value for key, value in example.model_dump().items() if value not in ("", None)}


def _judge_example(example: JudgeExample) -> dict[str, Any]:
    return example.model_dump()
