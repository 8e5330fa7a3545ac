"""One row of a prompt file, as every reader yields it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cai.errors import Where


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `cells` by column name; `where` for errors; `source` for provenance, free of the user's folders."""

    where: Where
    source: str
    cells: Mapping[str, object]
