"""Mode `text`: a verdict in words, for endpoints without log-probs.

The reader accepts a verdict that stands alone on the last line, or prose that makes exactly one claim. Two claims, a
denied or conditional claim, an echo of the question, a refusal or an unfinished thought is unread: never a label.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from cai.engine.protocol import Engine, Sampling, Turn
from cai.judge.question import Answer, Question, example_text, read_options
from cai.records import Usage

ASK_WORDS = "{judge}\nAnswer with one of these: A is better. B is better. Tie. Cannot tell."
Words = Literal["A", "B", "tie", "cannot tell"]
WORDS_FOR = {"A": "A is better.", "B": "B is better."}
CHOICES = (*WORDS_FOR.values(), "Tie.", "Cannot tell.")
"""What a server that can is held to; the reader takes whatever comes."""

_THINKING = re.compile(r"^\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"</?\w{1,20}>")
_MARKUP = re.compile(r'[*_`"{}“”$]')

_NOUN = r"(?:(?:the\s+)?(?:reply|response|answer|option|choice|assistant|candidate)\s+)?"
_LETTER = r"[(\[]*([AB])[)\]]*(?![\w'’])"
_BETTER = r"(?:better|best|preferable|superior|preferred)"
_DEGREE = r"(?:(?:the|clearly|slightly|much|far|definitely|obviously|overall|probably|still)\s+)*"
_NAMES = r"(?:answer|verdict|choice|winner|pick|preference|(?:better|best)(?:\s+(?:reply|response|answer|option|one))?)"
_TIE = r"(?:(?:it(?:'s| is)|the replies are|they are|both are|a|:)\s+)*(?:tied?|equal(?:ly (?:good|bad))?)"
_CANNOT = r"(?:can\s?not|can't|unable to|impossible to)\s+(?:tell|decide|determine|say which)"

_ALONE = re.compile(
    rf"(?:(?:(?:my|the)\s+)?(?:final\s+)?{_NAMES}\s*(?:is|:|=)?\s*)?{_NOUN}{_LETTER}(?:\s+is\s+{_DEGREE}{_BETTER})?",
    re.I,
)
_TIE_ALONE = re.compile(
    rf"(?:(?:final\s+)?{_NAMES}\s*(?:is|:|=)\s*)?(?:{_TIE}|A\s*=\s*B|neither (?:reply )?is better)", re.I
)
_CANNOT_ALONE = re.compile(rf"(?:(?:final\s+)?{_NAMES}\s*(?:is|:|=)\s*)?(?:I\s+)?{_CANNOT}", re.I)

_TIE_CLAIM = re.compile(
    r"\b(?:(?:it|this|that|result|verdict) is a tie|call it a tie|(?:are|is) (?:both )?equal(?:ly)?\b|no difference"
    r"|neither(?: A nor B| reply| one)? is better)|(?:^|[.!])\s*tie\s*[.!]",
    re.I | re.M,
)
_CANNOT_CLAIM = re.compile(rf"\b{_CANNOT}\b", re.I)
_CLAIMS = (
    re.compile(rf"\b{_NOUN}{_LETTER}\s+(?:is|was|seems|looks|would be)\s+{_DEGREE}{_BETTER}\b"),
    re.compile(rf"\b{_NOUN}{_LETTER}\s+\w+s\b[^.;,\n]{{0,60}}?\b{_BETTER}\b"),
    re.compile(rf"(?i:\b{_NAMES}\s*(?:is|:|=))\s*(?i:{_NOUN}){_LETTER}"),
    re.compile(rf"\bI(?:\s+would|'d)?\s+(?:choose|prefer|pick|select|go with)\s+{_NOUN}{_LETTER}"),
    re.compile(r"\[\[([AB])\]\]"),
)
_WORSE = re.compile(rf"\b{_NOUN}{_LETTER}\s+(?:is|was)\s+{_DEGREE}(?:worse|worst|inferior)\b")
_ORDINAL = re.compile(rf"\b(first|second)\s+(?:reply|response|answer|option|one)\s+is\s+{_DEGREE}{_BETTER}\b", re.I)
_RANKED = re.compile(r"(?<![\w<>])([AB])\s*(>+|<+)\s*([AB])(?![\w<>])")
_DOUBT = re.compile(r"\b(?:not|cannot|never|hardly|neither|nor|if|unless|whether|or|and|both)\b|n't\b|\?|/", re.I)
_MORE = re.compile(r"\s*(?:(?:or|and|/|&|nor)\s*[(\[]*[AB]\b|,\s*[AB]\s*(?:[.!]|$))|[^.!\n]*\?")
_CLAUSE = re.compile(r"[.;,:!\n]|\b(?:but|because|so|thus|hence|therefore)\b")


def ask_words(pair: str, judge_voice: str) -> str:
    """The whole user message; `pair` is the text of `prompts.pair_text`."""
    return f"{pair}\n{ASK_WORDS.replace('{judge}', judge_voice)}"


def read_words(text: str) -> Words | None:
    """The verdict in the judge's words; None where there is none, more than one, or any doubt."""
    plain = _plain(text)
    lines = [line for line in (line.strip(" .!;*-#>") for line in plain.splitlines()) if line]
    if not lines:
        return None
    alone: set[Words | None] = {verdict for line in lines if (verdict := _alone(line)) is not None}
    if len(alone) > 1:
        return None
    if (last := _alone(lines[-1])) is not None:
        return last
    claims = _claims(plain) | alone
    return claims.pop() if len(claims) == 1 else None


def _plain(text: str) -> str:
    """The text after a finished thought, in one Unicode form, without markup; empty where a thought is unfinished."""
    text = _THINKING.sub("", unicodedata.normalize("NFKC", text)).replace("’", "'")
    if re.match(r"\s*<think", text, re.I):
        return ""
    text = re.sub(r"\\boxed\s*\{\s*(?:\\text\s*\{)?\s*([AB])\s*\}*", r"[[\1]]", text)
    return _MARKUP.sub(" ", _TAG.sub(" ", text)).strip()


def _alone(line: str) -> Words | None:
    """The verdict of a line that holds nothing else."""
    line = " ".join(line.split()).rstrip(".")
    if match := _ALONE.fullmatch(line):
        return "A" if match[1].upper() == "A" else "B"
    if _TIE_ALONE.fullmatch(line):
        return "tie"
    return "cannot tell" if _CANNOT_ALONE.fullmatch(line) else None


def _claims(text: str) -> set[Words | None]:
    """Every different claim in prose; a doubted one is None, so that it contradicts all others."""
    found: set[Words | None] = set()
    for pattern, verdict in ((_TIE_CLAIM, "tie"), (_CANNOT_CLAIM, "cannot tell")):
        if pattern.search(text):
            found.add("tie" if verdict == "tie" else "cannot tell")
            text = pattern.sub(" ", text)
    for match in (m for pattern in _CLAIMS for m in pattern.finditer(text)):
        found.add(None if _doubted(text, match) else _letter(match[1]))
    for match in _WORSE.finditer(text):
        found.add(None if _doubted(text, match) else _letter("B" if match[1] == "A" else "A"))
    for match in _ORDINAL.finditer(text):
        found.add(None if _doubted(text, match) else _letter("A" if match[1].lower() == "first" else "B"))
    for match in _RANKED.finditer(text):
        better = match[1] if match[2][0] == ">" else match[3]
        found.add(None if match[1] == match[3] or _doubted(text, match) else _letter(better))
    return found


def _doubted(text: str, match: re.Match[str]) -> bool:
    """Whether the claim's own clause denies it, makes it depend, names two letters or asks."""
    before = _CLAUSE.split(text[: match.start()])[-1]
    return bool(_DOUBT.search(before) or _DOUBT.search(match[0]) or _MORE.match(text, match.end()))


def _letter(letter: str) -> Words:
    return "A" if letter == "A" else "B"


def turns(question: Question) -> tuple[Turn, ...]:
    """The few-shots as earlier turns, answered in words, then the question."""
    asked: list[Turn] = []
    for example in question.examples:
        asked.append(Turn("user", ask_words(example_text(example), example.judge)))
        asked.append(Turn("assistant", WORDS_FOR[example.answer]))
    asked.append(Turn("user", ask_words(question.text, question.voice)))
    return tuple(asked)


async def held(engine: Engine, question: Question) -> Answer:
    """The likeliest of the four verdicts by their log-probs, for a judge whose own words could not be read.

    Unread where they hold next to no probability: it would have said something else. Raises OptionsUnsupported.
    """
    scores = await engine.option_logprobs(turns(question), CHOICES)
    shares, _, raw = read_options(scores, CHOICES)
    words = None if shares is None else read_words(CHOICES[shares.index(max(shares))])
    return _answer(words, raw, scores.usage)


def _answer(words: Words | None, raw: str, usage: Usage) -> Answer:
    """1, 0 or, for a tie, 0.5 for the reply shown first; None for "cannot tell" and for what cannot be read."""
    p = {"A": 1.0, "B": 0.0, "tie": 0.5}.get(words or "")
    return Answer(p, raw, usage, tie=words == "tie", cannot_tell=words == "cannot tell")


async def answer(engine: Engine, question: Question, *, max_tokens: int = 64, temperature: float = 0.0) -> Answer:
    """The verdict in the judge's own words."""
    sampling = Sampling(question.seed, temperature, max_tokens=max_tokens, choices=CHOICES)
    said = await engine.generate(turns(question), sampling)
    return _answer(read_words(said.text), said.text, said.usage)
