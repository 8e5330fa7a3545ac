"""The JSON Schema of constitution and family files, for editors; the shipped copies are made here."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from cai.constitution.files import (
    ConstitutionFile,
    ExampleSource,
    FamilyFile,
    JudgeExampleSource,
    LoopSource,
    PrincipleSource,
    UseSource,
)

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def constitution_schema() -> str:
    """The schema behind the modeline of `constitution/*.yaml`, as JSON text."""
    return _text("A constitution", ConstitutionFile.model_json_schema())


def family_schema() -> str:
    """The schema behind the modeline of `principles/*.yaml`, as JSON text."""
    return _text("A family of principles", FamilyFile.model_json_schema())


def _text(title: str, schema: dict[str, Any]) -> str:
    schema = {"$schema": DIALECT, **schema, "title": title}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def key_tables() -> str:
    """The reference of all keys as Markdown tables, from the same descriptions: `docs/constitutions.md` holds it."""
    parts = [_table(heading, model) for heading, model in _TABLES]
    return "\n\n".join(parts)


_TABLES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("Top of the file", ConstitutionFile),
    ("An entry of `use`, where it is not just a name", UseSource),
    ("An entry of `principles`, where it is not just a sentence", PrincipleSource),
    ("An entry of `examples`", ExampleSource),
    ("An entry of `judge_examples`", JudgeExampleSource),
    ("`loop`", LoopSource),
    ("A family file of the library", FamilyFile),
)


def _table(heading: str, model: type[BaseModel]) -> str:
    rows = [f"**{heading}**", "", "| key | | |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        default = field.get_default()
        if field.is_required():
            need = "required"
        elif isinstance(default, (bool, int, float)) or (isinstance(default, str) and default):
            need = f"`{json.dumps(default)}`".replace('"', "")
        else:
            need = "optional"
        rows.append(f"| `{name}` | {need} | {field.description} |")
    return "\n".join(rows)
