"""Two coarse marks of a reply's wording, for the difference between chosen and rejected replies."""

from __future__ import annotations

import re

_REFUSAL = re.compile(
    r"\b(?:I|we)(?:'m| am)? (?:sorry|can\s?not|can't|won't|will not|am not able|unable|must decline)\b"
    r"|\bI(?:'d| would) rather not\b",
    re.IGNORECASE,
)
_BOILERPLATE = re.compile(
    r"\bas an AI\b|\blet me know if\b|\bI hope this helps\b|\bfeel free to\b|\bthank you for your question\b"
    r"|\bgreat question\b|\bhappy to help\b|\bit(?:'s| is) important to (?:remember|note)\b",
    re.IGNORECASE,
)


def refuses(reply: str) -> bool:
    """Whether the reply holds a phrase of refusal; coarse, for deltas only."""
    return _REFUSAL.search(reply.replace("’", "'")) is not None


def boilerplate(reply: str) -> int:
    """Number of stock phrases in the reply."""
    return len(_BOILERPLATE.findall(reply.replace("’", "'")))
