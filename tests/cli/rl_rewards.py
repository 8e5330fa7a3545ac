"""Rewards that the command line's tests name as `module:function`."""


def vowels(messages: list[dict[str, str]], reply: str) -> float:
    """Share of vowels in the reply."""
    return sum(letter in "aeiou" for letter in reply) / max(1, len(reply))


def short(messages: list[dict[str, str]], reply: str) -> float:
    """Less for every letter."""
    return -len(reply) / 100


def nothing(messages: list[dict[str, str]], reply: str) -> None:
    """Cannot tell."""


def nothing_either(messages: list[dict[str, str]], reply: str) -> None:
    """Cannot tell."""
