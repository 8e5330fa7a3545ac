"""The constitution JSON of huggingface/llm-swarm: `{"constitutions": [{critic, revision}], "system_chat": [[…]]}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cai.constitution.importing.parts import Parts, clean, clean_example, is_list, is_mapping
from cai.constitution.model import Example, Principle
from cai.errors import InputError, Where

_ROLES = ["user", "assistant", "user", "assistant", "user", "assistant"]


def is_swarm(data: object) -> bool:
    """A mapping with a list `constitutions`."""
    return is_mapping(data) and is_list(data.get("constitutions"))


def read_swarm(data: Mapping[str, object], where: Where) -> Parts:
    """`critic` and `revision` are two voices of a principle; each chat is a few-shot round."""
    principles: list[Principle] = []
    for index, item in enumerate(_list(data.get("constitutions"), where)):
        here = Where(where.file, key=f"constitutions[{index}]")
        if not is_mapping(item) or not {"critic", "revision"} <= set(item):
            raise InputError("`critic` and `revision` were expected", "mend the entry", here)
        principles.append(
            Principle(
                id=f"swarm-{index + 1}", critique=clean(item["critic"], here), revise=clean(item["revision"], here)
            )
        )
    chats = _list(data.get("system_chat", []), where)
    examples = tuple(_example(chat, Where(where.file, key=f"system_chat[{i}]")) for i, chat in enumerate(chats))
    return Parts("llm-swarm constitution", tuple(principles), examples)


def _list(value: object, where: Where) -> list[Any]:
    if not is_list(value):
        raise InputError("a list was expected", "mend the file", where)
    return value


def _example(chat: object, where: Where) -> Example:
    turns = [turn for turn in _list(chat, where) if is_mapping(turn) and turn.get("role") != "system"]
    if [turn.get("role") for turn in turns] != _ROLES:
        raise InputError("six messages, user and assistant in turn, were expected", "mend the chat", where)
    prompt, reply, ask, critique, again, revision = (clean_example(turn.get("content"), where) for turn in turns)
    if revision == reply:
        return Example(prompt=prompt, reply=reply, critique_request=clean(ask, where), critique=critique)
    return Example(
        prompt=prompt,
        reply=reply,
        critique_request=clean(ask, where),
        critique=critique,
        revise_request=clean(again, where),
        revision=revision,
    )
