"""Templates: `[a|b]` is a choice, `{slot}` is filled in. One template both writes text and reads it back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from random import Random

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")


def expand(template: str, rng: Random, slots: Mapping[str, str] | None = None) -> str:
    """One text of a template: every choice drawn from `rng`, every slot filled."""
    text = _CHOICE.sub(lambda m: rng.choice(m.group(1).split("|")), template)
    text = re.sub(r" +", " ", text).strip()
    filled = _SLOT.sub(lambda m: (slots or {})[m.group(1)], text)
    return filled[:1].upper() + filled[1:]


def slots_of(template: str) -> frozenset[str]:
    """Names of the slots a template needs."""
    return frozenset(_SLOT.findall(template))


@cache
def regex_of(template: str, shapes: tuple[tuple[str, str], ...]) -> str:
    """A regular expression for every text of a template; `shapes` gives the expression of each slot."""
    known = dict(shapes)
    out: list[str] = []
    at = 0
    for match in re.finditer(r"\[([^\[\]]*)\]|\{(\w+)\}", template):
        out.append(_literal(template[at : match.start()]))
        if match.group(2):
            out.append(f"(?:{known[match.group(2)]})")
        else:
            options = (
                "".join(
                    f"(?:{known[part[1:-1]]})" if part.startswith("{") else _literal(part)
                    for part in re.split(r"(\{\w+\})", option)
                )
                for option in match.group(1).split("|")
            )
            out.append(f"(?:{'|'.join(options)})")
        at = match.end()
    out.append(_literal(template[at:]))
    return "".join(out)


def _literal(text: str) -> str:
    """Escaped text in which a run of spaces may be shorter or missing, as an empty choice leaves it."""
    return re.sub(r"(?:\\ )+", r"\\s*", re.escape(text))
