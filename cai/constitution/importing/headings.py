"""Markdown specifications whose headings carry `{#id authority=…}`, as OpenAI's Model Spec does."""

from __future__ import annotations

import re

from cai.constitution.importing.parts import Parts, clean
from cai.constitution.model import Principle
from cai.errors import Where

PRIORITIES = {"root": 4, "system": 3, "developer": 2, "user": 1, "guideline": 0}
"""Authority of a section and the priority of its principle: what nobody may override is checked first."""
LONGEST = 60
"""Words kept of a section's first paragraph, in whole sentences."""

_HEADING = re.compile(r"^#{1,6}\s+(?P<title>.*?)\s*\{#(?P<id>[\w-]+)(?P<attributes>[^}]*)\}\s*$")
_FENCE = re.compile(r"^\s*(~~~+|```+)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"“(])")


def is_specification(text: str) -> bool:
    """Some heading outside fenced blocks has an id and an authority."""
    return any(match and "authority=" in match["attributes"] for match in map(_HEADING.match, _outside_fences(text)))


def read_specification(text: str, where: Where) -> Parts:
    """Each heading with an authority becomes a sentence principle: its title and the first sentences under it.

    Headings without an authority only group others. Examples in fenced blocks are not read.
    """
    lines = _outside_fences(text)
    principles: list[Principle] = []
    groups = 0
    for index, line in enumerate(lines):
        match = _HEADING.match(line)
        if not match:
            continue
        attributes = dict(part.split("=", 1) for part in match["attributes"].split() if "=" in part)
        if "authority" not in attributes:
            groups += 1
            continue
        title = _prose(match["title"]).rstrip(".")
        body = _first_paragraph(lines[index + 1 :])
        here = Where(where.file, key=match["id"])
        principle = Principle.from_sentence(match["id"], clean(f"{title}. {body}".strip(), here))
        authority = attributes["authority"]
        tags = (f"authority:{authority}", *(tag for tag in attributes.get("tags", "").split(",") if tag))
        principles.append(principle.model_copy(update={"priority": PRIORITIES.get(authority, 0), "tags": tags}))
    note = f"{where.file}: {groups} headings without an authority only group others and are left out"
    return Parts("specification with headings", tuple(principles), notes=(note,) if groups else ())


def _outside_fences(text: str) -> list[str]:
    """The lines that are not in a fenced block; the block's own lines become empty ones."""
    kept: list[str] = []
    fence = ""
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence):
                fence = ""
            kept.append("")
        elif mark:
            fence = mark[1]
            kept.append("")
        else:
            kept.append(line)
    return kept


def _first_paragraph(lines: list[str]) -> str:
    """The first prose under a heading, in whole sentences up to `LONGEST` words; empty without prose of its own."""
    paragraph: list[str] = []
    for line in lines:
        if line.startswith(("#", "**Example")):
            break
        if not line.strip():
            if paragraph:
                break
            continue
        if not paragraph and re.match(r"\s*(?:[-*+>|!]|\d+\.)\s", line):
            continue
        paragraph.append(line.strip())
    kept: list[str] = []
    for sentence in _SENTENCE_END.split(_prose(" ".join(paragraph))):
        if kept and len(" ".join([*kept, sentence]).split()) > LONGEST:
            break
        kept.append(sentence)
    return " ".join(kept)


def _prose(markdown: str) -> str:
    """Text without footnote marks, links and emphasis."""
    text = re.sub(r"\[\^[^\]]+\]", "", markdown)
    text = re.sub(r"\[\?\]\(#([\w-]+)\)", lambda match: f"“{match[1].replace('_', ' ')}”", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"[*`]+", "", text).strip()
