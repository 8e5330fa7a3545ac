"""Conversations behind a comparison, as the page shows them: a short index, and bodies in chunks parsed on demand."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from cai.compare.result import Result
from cai.compare.sides import Paired
from cai.records import Revision

CHUNK = 50
SHOWN = 90
"""Characters of a prompt in the index."""


@dataclass(frozen=True, slots=True)
class Transcripts:
    """`index` is one JSON text; `chunks` are JSON texts of `CHUNK` bodies each, in the order of the index."""

    index: str
    chunks: tuple[str, ...]
    count: int
    left_out: int


def transcripts(result: Result, paired: Paired, most: int) -> Transcripts:
    """Flips first, in their order, then the other prompts; at most `most` of them."""
    flips: defaultdict[str, list[dict[str, object]]] = defaultdict(list)
    for flip in result.flips:
        flips[flip.prompt].append(
            {"a": flip.a, "b": flip.b, "gained": flip.gained, "lost": flip.lost, "better": flip.better}
        )
    ids = [*dict.fromkeys(flip.prompt for flip in result.flips)]
    ids += [prompt.id for prompt in paired.prompts if prompt.id not in flips]
    kept = ids[:most]
    prompts = {prompt.id: prompt for prompt in paired.prompts}
    index = [[prompts[id].messages[-1].content[:SHOWN], prompts[id].category, flips.get(id, [])] for id in kept]
    return Transcripts(escaped(index), tuple(_chunks(paired, kept)), len(kept), len(ids) - len(kept))


def escaped(value: object) -> str:
    """JSON that may stand in a script element: no `<`, `>` or `&`, no line separators, nothing but ASCII."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _chunks(paired: Paired, ids: list[str]) -> Iterator[str]:
    sides = [side for side in paired.sides if side.name != "drafts"]
    for start in range(0, len(ids), CHUNK):
        yield escaped([_body([(side.name, side.chains[id]) for side in sides]) for id in ids[start : start + CHUNK]])


def _body(chains: list[tuple[str, Revision]]) -> dict[str, object]:
    prompt = chains[0][1].prompt
    return {
        "source": prompt.source,
        "messages": [[message.role, message.content] for message in prompt.messages],
        "sides": [
            {
                "name": name,
                "draft": chain.draft,
                "steps": [
                    [step.principle, step.violated, step.critique, step.revision, list(step.flags)]
                    for step in chain.steps
                ],
                "final": chain.final,
                "flags": list(chain.flags),
            }
            for name, chain in chains
        ],
    }
