"""What became of a record, as the journal keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic_core import PydanticSerializationError

from cai.errors import RecordFault
from cai.records import Record, Usage
from cai.store.secrets import redact

State = Literal["ok", "quarantined"]
"""What a stored row can be; a record without a row is pending."""
_LONGEST_ERROR = 2000


@dataclass(frozen=True, slots=True)
class Row:
    """A finished record: its JSON where the state is `ok`, else the error's kind and message."""

    key: str
    position: int
    state: State
    body: str | None
    kind: str
    error: str
    attempts: int
    seconds: float
    usage: Usage


class BadText(RecordFault):
    """The record holds text that is not valid UTF-8, such as half of a surrogate pair."""


def finished(key: str, position: int, record: Record, *, attempts: int, seconds: float) -> Row:
    """The row of a good record; its `usage`, where it has one, goes into columns. Raises BadText."""
    try:
        body = record.model_dump_json()
    except (PydanticSerializationError, UnicodeEncodeError) as fault:
        raise BadText(f"the record cannot be written as UTF-8: {fault}") from fault
    usage = getattr(record, "usage", None)
    return Row(key, position, "ok", body, "", "", attempts, seconds, usage if isinstance(usage, Usage) else Usage())


def failed(key: str, position: int, fault: Exception, *, attempts: int, seconds: float) -> Row:
    """The row of a quarantined record: the kind of fault and its message, without keys and odd characters."""
    message = redact(str(fault)).encode("utf-8", "backslashreplace").decode("utf-8")[:_LONGEST_ERROR]
    return Row(key, position, "quarantined", None, type(fault).__name__, message, attempts, seconds, Usage())
