"""Mode `text`: a verdict in words, for endpoints without log-probs."""

from __future__ import annotations

ASK_WORDS = "{judge}\nAnswer with one of these: A is better. B is better. Tie. Cannot tell."


def ask_words(pair: str, judge_voice: str) -> str:
    """The whole user message; `pair` is the text of `prompts.pair_text`."""
    return f"{pair}\n{ASK_WORDS.replace('{judge}', judge_voice)}"
