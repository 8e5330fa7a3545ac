"""Mode `score`: one reply at a time gets a number from 1 to 10; we read the log-probs of all ten numbers."""

from __future__ import annotations

ASK_SCORE = (
    "{judge}\nThat question is about two replies. Rate how well this one does by it, from 1 (worst) to 10 (best). "
    "Answer with the number."
)


def ask_score(one: str, judge_voice: str) -> str:
    """The whole user message; `one` is the text of `prompts.one_text`."""
    return f"{one}\n{ASK_SCORE.replace('{judge}', judge_voice)}"
