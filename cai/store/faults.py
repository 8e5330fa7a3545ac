"""How a run ends early, and disk faults told with the file and the space that is left."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from cai.errors import CaiError


class StoreError(CaiError):
    """The run's folder cannot be read or written; what was stored before is kept."""


class Interrupted(CaiError):
    """The user or the system asked us to stop; every finished record is stored."""

    exit_code = 130


class BudgetSpent(CaiError):
    """The next record would cost more than the budget allows."""


class TooManyErrors(CaiError):
    """The stage finished, but more records were quarantined than the user tolerates."""


@contextmanager
def naming(path: Path, doing: str = "write") -> Generator[None]:
    """Turn a fault of the disk or of SQLite into one line that names the file and the space left on its disk."""
    try:
        yield
    except (OSError, sqlite3.Error) as fault:
        reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
        remedy = f" ({_free(path)}); mend that, then the same command goes on" if doing == "write" else ""
        raise StoreError(f"{path}: cannot {doing}: {reason}{remedy}") from fault


def _free(path: Path) -> str:
    folder = next((place for place in (path, *path.parents) if place.is_dir()), Path("/"))
    try:
        return f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB free in {folder}"
    except OSError as fault:
        return f"free space unknown: {fault.strerror}"
