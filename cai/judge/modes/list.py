"""Mode `list`: all replies at once, either ranked in words or the best one chosen by its letter's log-prob."""

from __future__ import annotations

ASK_RANK = "{judge}\nRank all replies, best first. Answer with their letters only, > between them, = between equals."
ASK_BEST = "{judge}\nAnswer with one letter, that of the best reply."


def ask_rank(many: str, judge_voice: str) -> str:
    """The whole user message; `many` is the text of `prompts.many_text`. An answer looks like `C > A = D > B`."""
    return f"{many}\n{ASK_RANK.replace('{judge}', judge_voice)}"


def ask_best(many: str, judge_voice: str) -> str:
    """The whole user message of the best-of-K question."""
    return f"{many}\n{ASK_BEST.replace('{judge}', judge_voice)}"
