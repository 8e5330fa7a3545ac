"""A coarse mark of a reply's wording, for the difference between chosen and rejected replies."""

from __future__ import annotations

import re

_BOILERPLATE = re.compile(
    r"\bas an AI\b|\blet me know if\b|\bI hope this helps\b|\bfeel free to\b|\bthank you for your question\b"
    r"|\bgreat question\b|\bhappy to help\b|\bit(?:'s| is) important to (?:remember|note)\b",
    re.IGNORECASE,
)


def boilerplate(reply: str) -> int:
    """Number of stock phrases in the reply."""
    return len(_BOILERPLATE.findall(reply.replace("’", "'")))
