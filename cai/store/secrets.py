"""Keys stay out of everything we write: the last defence, where a server or a command line repeats one."""

from __future__ import annotations

import os
import re

_NAMES = re.compile(r"(key|token|secret|password)s?$", re.IGNORECASE)
_WRITTEN = re.compile(
    r"((?:api[-_]?key|token|secret|password|authorization)\s*[=:]\s*)(bearer\s+)?[^\s'\",}]+", re.IGNORECASE
)
_SHORTEST = 8
"""Shorter values of such variables are rarely keys, and would blank ordinary words."""


def redact(text: str) -> str:
    """`text` without the values of environment variables that hold keys, and without `api_key=…` in the open."""
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and _NAMES.search(name):
            text = text.replace(value, "***")
    return _WRITTEN.sub(r"\1***", text)
