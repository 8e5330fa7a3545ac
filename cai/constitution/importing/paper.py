"""The JSON files that came with Bai et al. 2022 (Constitutional AI): instructions, few-shots, judge principles."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from cai.constitution.importing.parts import Parts, clean, clean_example, is_list, is_mapping
from cai.constitution.model import Example, Principle
from cai.errors import InputError, Where

_MARKS = ("Human", "Assistant", "CritiqueRequest", "Critique", "RevisionRequest", "Revision")
_TURN = re.compile(rf"(?:^|\n\n)({'|'.join(_MARKS)}):[ \n]?")
_OPTIONS = re.compile(r"\s*Options:\s*$")


def is_instructions(data: object) -> bool:
    """`{"harmful0": {"prompt": [...], "edit_request": "..."}, …}`."""
    return is_mapping(data) and any(is_mapping(v) and "edit_request" in v for v in data.values())


def is_transcripts(data: object) -> bool:
    """A list of texts with `CritiqueRequest:` in them."""
    return is_list(data) and any(isinstance(v, str) and "CritiqueRequest:" in v for v in data)


def is_judge_principles(data: object) -> bool:
    """A list of texts most of which end in `Options:`."""
    ends = [bool(isinstance(v, str) and _OPTIONS.search(v)) for v in data] if is_list(data) else list[bool]()
    return bool(ends) and sum(ends) > len(ends) / 2


def read_instructions(data: Mapping[str, object], where: Where) -> Parts:
    """CritiqueRevisionInstructions.json: an entry's critique and revision requests are two voices of a principle."""
    principles: list[Principle] = []
    for key, entry in data.items():
        here = Where(where.file, key=key)
        if not is_mapping(entry) or "prompt" not in entry or "edit_request" not in entry:
            raise InputError("`prompt` and `edit_request` were expected", "mend the entry", here)
        prompt = entry["prompt"]
        if not is_list(prompt) or len(prompt) != 1:
            raise InputError("`prompt` should be a list of one text", "mend the entry", here)
        critique = _between(clean(prompt[0], here), "CritiqueRequest", "Critique")
        revise = _between(clean(entry["edit_request"], here), "RevisionRequest", "Revision")
        id = re.sub(r"[^A-Za-z0-9_-]+", "-", key).strip("-_")[:60] or "principle"
        principles.append(Principle(id=id, critique=clean(critique, here), revise=clean(revise, here)))
    return Parts("critique and revision instructions of the CAI paper", tuple(principles))


def _between(text: str, start: str, end: str) -> str:
    """The request without the mark before it and the empty mark after it."""
    return re.sub(rf"\s*{end}:\s*$", "", re.sub(rf"^\s*{start}:\s*", "", text))


def read_transcripts(data: Sequence[object], where: Where) -> Parts:
    """CritiqueRevisionFewShotPrompts.json: each transcript is a few-shot; a revision like the reply makes a no-op."""
    examples: list[Example] = []
    notes: list[str] = []
    for index, item in enumerate(data):
        here = Where(where.file, key=f"[{index}]")
        turns = _turns(clean_example(item, here))
        asked = [i for i, (mark, _) in enumerate(turns) if mark == "CritiqueRequest"]
        if not asked or [mark for mark, _ in turns[: asked[0]]][-2:] != ["Human", "Assistant"]:
            raise InputError("Human, Assistant and CritiqueRequest were expected", "mend the transcript", here)
        start = asked[0]
        if start > 2:
            notes.append(f"{where.file}: transcript {index + 1}: earlier turns are left out")
        if len(asked) > 1:
            notes.append(f"{where.file}: transcript {index + 1}: rounds after the first are left out")
        examples.append(_example([turns[start - 2], turns[start - 1], *turns[start : start + 4]], here))
    return Parts("few-shot transcripts of the CAI paper", examples=tuple(examples), notes=tuple(notes))


def _turns(text: str) -> list[tuple[str, str]]:
    parts = _TURN.split(text)
    return [(parts[i], parts[i + 1].strip()) for i in range(1, len(parts) - 1, 2)]


def _example(turns: Sequence[tuple[str, str]], where: Where) -> Example:
    said = dict(turns)
    if not said.get("Critique"):
        raise InputError("a Critique was expected", "mend the transcript", where)
    reply, revision = said["Assistant"], said.get("Revision") or None
    if revision == reply:
        revision = None
    return Example(
        prompt=clean_example(said["Human"], where),
        reply=clean_example(reply, where),
        critique_request=clean(said["CritiqueRequest"], where),
        critique=said["Critique"],
        revise_request=clean(said.get("RevisionRequest", ""), where) if revision else "",
        revision=revision,
    )


def read_judge_principles(data: Sequence[object], where: Where) -> Parts:
    """RLMadisonInstructions.json: each text is the judge voice of a principle that has no other."""
    principles: list[Principle] = []
    for index, item in enumerate(data):
        here = Where(where.file, key=f"[{index}]")
        voice = clean(_OPTIONS.sub("", clean(item, here)), here)
        principles.append(Principle(id=f"judge-{index + 1}", judge=voice))
    return Parts("judge principles of the CAI paper", tuple(principles))
