"""Keys stay out of everything we write: the last defence, where a server or a command line repeats one."""

from __future__ import annotations

import os
import re

_VARIABLES = re.compile(r"(key|token|secret|password)s?$", re.IGNORECASE)
_SHORTEST = 8
"""Shorter values of such variables are rarely keys, and would blank ordinary words."""
_WORDS = r"(?:api[-_]?key|token|secret|password|authorization)"
_VALUE = r"(?:bearer\s+)?[^\s'\",}]+"
_WRITTEN = re.compile(
    rf"(?P<assigned>{_WORDS}['\"]?\s*[=:]\s*['\"]?){_VALUE}|(?P<option>--[\w-]*{_WORDS}\s+){_VALUE}|(?P<login>://)[^\s/@]+(?=@)",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """`text` without values of environment variables that hold keys, without `api_key=…`, `--token …`, `://user:…@`."""
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and _VARIABLES.search(name):
            text = text.replace(value, "***")
    return _WRITTEN.sub(lambda found: f"{found[found.lastgroup or 0]}***", text)
