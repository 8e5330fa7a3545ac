"""Mode `cot`: the judge first compares in words, then names a letter in a second turn, read by its log-probs."""

from __future__ import annotations

ASK_REASON = "{judge}\nFirst compare the replies in a sentence or two. Do not choose yet."
ASK_ANSWER = "Now answer with one letter, A or B."


def ask_reason(pair: str, judge_voice: str) -> str:
    """The first user message; the second is `ASK_ANSWER` as it stands."""
    return f"{pair}\n{ASK_REASON.replace('{judge}', judge_voice)}"
