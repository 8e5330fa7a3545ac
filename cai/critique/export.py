# pyright: standard
# (pyarrow has no types)
"""From a run's rows to the files a user takes away: sft.parquet, dropped.parquet, the dataset card."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from cai.critique.hygiene import worst
from cai.critique.stage import STAGE
from cai.records import Prompt, Revision
from cai.store import Run, Stored, batches

if TYPE_CHECKING:
    import pyarrow as pa

SFT, DROPPED = "sft.parquet", "dropped.parquet"
Replies = Literal["final", "all"]


def write_datasets(run: Run, prompts: Iterable[Prompt], name: str, replies: Replies) -> tuple[int, int]:
    """Write both files from the stored rows and return their numbers of rows. `name` is the constitution's.

    `prompts` are the stage's items again: a quarantined row holds no text of its own.
    """
    sft, dropped = sft_schema(), dropped_schema()
    kept = run.write_export(SFT, batches(sft_rows(run.rows(STAGE, Revision), name, replies), sft), sft)
    rest = dropped_rows(run.rows(STAGE, Revision), prompts, name)
    return kept, run.write_export(DROPPED, batches(rest, dropped), dropped)


def sft_rows(rows: Iterable[Stored[Revision]], name: str, replies: Replies) -> Iterator[dict[str, Any]]:
    """Training rows of every chain worth keeping: a conversation in TRL's `messages` and where it came from."""
    for row in rows:
        if row.body is None:
            continue
        for round, reply in _replies(row.body, replies):
            answer = {"role": "assistant", "content": reply}
            yield {
                "messages": [*_messages(row.body.prompt), answer],
                "round": round,
                **_provenance(row.body, name),
            }


def dropped_rows(rows: Iterable[Stored[Revision]], prompts: Iterable[Prompt], name: str) -> Iterator[dict[str, Any]]:
    """Every chain that is no training data, with the reason, and every quarantined prompt, with the fault."""
    items = enumerate(prompts)
    for row in rows:
        if row.body is not None and (reason := worst(row.body.flags)) is not None:
            final = {"role": "assistant", "content": row.body.final}
            yield {
                "messages": [*_messages(row.body.prompt), final],
                "reason": reason,
                "error": "",
                **_provenance(row.body, name),
            }
        elif row.body is None:
            prompt = next(prompt for position, prompt in items if position == row.position)
            yield {"messages": _messages(prompt), "reason": row.kind, "error": row.error, **_origin(prompt)}


def _replies(revision: Revision, replies: Replies) -> Iterator[tuple[int, str]]:
    """The replies of a chain that are training data, with the number of revisions each went through."""
    if replies == "final":
        if not revision.flags:
            yield sum(step.changed for step in revision.steps), revision.final
        return
    changed = [step for step in revision.steps if step.changed]
    if not changed and not revision.flags:
        yield 0, revision.final
    for number, step in enumerate(changed, start=1):
        if not step.flags and step.revision:
            yield number, step.revision


def _messages(prompt: Prompt) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in prompt.messages]


def _origin(prompt: Prompt) -> dict[str, Any]:
    return {"prompt_id": prompt.id, "source": prompt.source, "category": prompt.category}


def _provenance(revision: Revision, name: str) -> dict[str, Any]:
    """Nothing here depends on when or how fast the row was made: a resumed run writes the same bytes."""
    return {
        **_origin(revision.prompt),
        "draft": revision.draft,
        "changed": revision.final != revision.draft,
        "flags": list(revision.flags),
        "steps": [{**step.model_dump(), "flags": list(step.flags)} for step in revision.steps],
        "constitution": name,
        "constitution_sha": revision.constitution,
        "draft_model": revision.models["draft"],
        "critic_model": revision.models["critic"],
        "reviser_model": revision.models["reviser"],
        "seed": revision.seed,
    }


def sft_schema() -> pa.Schema:
    """`messages`, then provenance; no column whose name TRL would take for another format."""
    import pyarrow as pa

    return pa.schema([_messages_field(), pa.field("round", pa.int32()), *_provenance_fields()])


def dropped_schema() -> pa.Schema:
    """As `sft_schema`, with the reason; a quarantined prompt has no reply and null where the chain would be."""
    import pyarrow as pa

    reason = [pa.field("reason", pa.string()), pa.field("error", pa.string())]
    return pa.schema([_messages_field(), *reason, *_provenance_fields()])


def _messages_field() -> pa.Field:
    import pyarrow as pa

    return pa.field("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))


def _provenance_fields() -> list[pa.Field]:
    import pyarrow as pa

    text, flags = pa.string(), pa.list_(pa.string())
    step = pa.struct(
        [
            ("round", pa.int32()),
            ("principle", text),
            ("critique", text),
            ("violated", pa.bool_()),
            ("revision", text),
            ("changed", pa.bool_()),
            ("flags", flags),
        ]
    )
    columns = {
        "prompt_id": text,
        "source": text,
        "category": text,
        "draft": text,
        "changed": pa.bool_(),
        "flags": flags,
        "steps": pa.list_(step),
        "constitution": text,
        "constitution_sha": text,
        "draft_model": text,
        "critic_model": text,
        "reviser_model": text,
        "seed": pa.int64(),
    }
    return [pa.field(name, kind) for name, kind in columns.items()]
