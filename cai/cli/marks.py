"""A revision's changes, word by word: `[-what went-]` and `{+what came+}`, in colour where the terminal has it."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

import typer

from cai.cli.terminal import plain

_WORDS = re.compile(r"\n|\S+")


def marked_changes(before: str, after: str) -> str:
    """Both texts in one, odd characters made harmless first. Off a terminal `typer.echo` drops the colours."""
    old, new = (_WORDS.findall(plain(text)) for text in (before, after))
    parts: list[str] = []
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        gone, come = _joined(old[a:b]), _joined(new[c:d])
        if kind == "equal":
            parts.append(come)
            continue
        if gone:
            parts.append(typer.style(f"[-{gone}-]", fg=typer.colors.RED, strikethrough=True))
        if come:
            parts.append(typer.style(f"{{+{come}+}}", fg=typer.colors.GREEN))
    return " ".join(parts)


def _joined(words: list[str]) -> str:
    return " ".join(words).replace(" \n ", "\n").strip()
