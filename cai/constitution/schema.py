"""The JSON Schema of constitution and family files, for editors; the shipped copies are made here."""

from __future__ import annotations

import json
from typing import Any

from cai.constitution.files import ConstitutionFile, FamilyFile

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
