"""Reads what an OpenAI-compatible server sends back; anything that is not an answer becomes a fault with its reason."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, cast

from cai.engine.options import log_sum
from cai.engine.protocol import ContextTooLong, OptionScores, OptionsUnsupported
from cai.engine.retry import Attempt
from cai.errors import InputError, RecordFault
from cai.records import Usage

PASSING = frozenset({408, 409, 425, 429})
TOO_LONG = re.compile(
    r"context.length|maximum context|context window|too many tokens|prompt is too long|longer than the max", re.I
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The first choice of a response; `top` is the log-probs shown for its first token."""

    text: str
    finish_reason: Literal["stop", "length"]
    usage: Usage
    top: tuple[tuple[str, float], ...]


def read_answer(body: str, *, chat: bool) -> Answer:
    """The answer in a body of status 200. Raises Attempt for a body that is none, RecordFault for a refused one."""
    try:
        content: Any = json.loads(body)
    except ValueError:
        raise Attempt(f"the server sent something that is not JSON: {_short(body)}") from None
    if not isinstance(content, dict):
        raise Attempt(f"the server sent no JSON object: {_short(body)}")
    if content.get("error"):
        refuse(200, body)
    try:
        choice = content["choices"][0]
        text = choice["message"]["content"] if chat else choice["text"]
    except (KeyError, IndexError, TypeError):
        raise Attempt(f"the server sent no choice: {_short(body)}") from None
    reason = choice.get("finish_reason") or "stop"
    if reason not in ("stop", "length"):
        raise RecordFault(f"the server ended the reply with {_short(str(reason))}")
    if not isinstance(text, str):
        raise Attempt("the server sent a reply without content")
    return Answer(text, reason, _usage(content.get("usage")), _first_top(choice.get("logprobs"), chat=chat))


def refuse(status: int, body: str, *, limited_for: float | None = None) -> NoReturn:
    """Raise what an error response means: a passing fault, this record's fault, or a setting that is wrong."""
    message = _message(body)
    reason = f"status {status}: {message}"
    if TOO_LONG.search(message):
        raise ContextTooLong(reason)
    if status in (401, 403):
        raise InputError(f"the server refuses the key ({reason})", "set the environment variable with the right one")
    if status == 404:
        raise InputError(f"the server does not know this model or address ({reason})", "check model and base_url")
    if status in PASSING or status >= 500 or status == 200:
        raise Attempt(reason, limited=status == 429 or limited_for is not None, wait=limited_for)
    raise RecordFault(f"the server refuses this request ({reason})")


def held_to(choices: Sequence[str], how: Literal["none", "vllm", "json"]) -> dict[str, Any]:
    """What is sent so that the reply is one of the choices."""
    if how == "vllm":
        return {"structured_outputs": {"choice": list(choices)}}
    if how == "json":
        schema = {
            "type": "object",
            "properties": {"answer": {"type": "string", "enum": list(choices)}},
            "required": ["answer"],
            "additionalProperties": False,
        }
        form = {"name": "answer", "strict": True, "schema": schema}
        return {"response_format": {"type": "json_schema", "json_schema": form}}
    return {}


def read_held(text: str) -> str:
    """The answer in a reply of `held_to` by JSON; a reply that is no such JSON as it is, for its reader to judge."""
    try:
        answer: Any = json.loads(text)["answer"]
    except (ValueError, KeyError, TypeError):
        return text
    return answer if isinstance(answer, str) else text


def score_options(answer: Answer, options: Sequence[str]) -> OptionScores:
    """Log-probs of options from those shown for the first token.

    A token counts for an option that it spells, with or without a space or a bracket before it, and for the only option
    of which it is the start. An option that no shown token belongs to is bounded by the least log-prob shown.
    """
    if not answer.top:
        raise OptionsUnsupported("the server shows no log-probs; use a judge mode that reads words")
    shown: dict[str, list[float]] = {option: [] for option in options}
    for token, logprob in answer.top:
        word = token.strip().removeprefix("(")
        owners = [word] if word in shown else [option for option in options if word and option.startswith(word)]
        if len(owners) == 1:
            shown[owners[0]].append(logprob)
    least = min(logprob for _, logprob in answer.top)
    logprobs = tuple(log_sum(shown[option]) if shown[option] else least for option in options)
    return OptionScores(logprobs, tuple(not shown[option] for option in options), answer.usage)


def _first_top(logprobs: Any, *, chat: bool) -> tuple[tuple[str, float], ...]:
    """Token texts and log-probs shown for the first position; chat and completions write them differently."""
    try:
        if chat:
            pairs = [(entry["token"], entry["logprob"]) for entry in logprobs["content"][0]["top_logprobs"]]
        else:
            pairs = list(logprobs["top_logprobs"][0].items())
    except (KeyError, IndexError, TypeError, AttributeError):
        return ()
    return tuple((str(token), float(logprob)) for token, logprob in pairs if math.isfinite(float(logprob)))


def _usage(content: Any) -> Usage:
    usage = cast(dict[str, Any], content) if isinstance(content, dict) else {}
    details = usage.get("prompt_tokens_details") or {}
    return Usage(
        calls=1,
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        cached_tokens=int(details.get("cached_tokens") or 0),
        completion_tokens=int(usage.get("completion_tokens") or 0),
    )


def _message(body: str) -> str:
    """The message of an error body, in one short line."""
    try:
        content: Any = json.loads(body)
        error = content.get("error", content)
        return _short(str(error.get("message", error) if isinstance(error, dict) else error))
    except (ValueError, AttributeError):
        return _short(body)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else line[:200] + "…"
