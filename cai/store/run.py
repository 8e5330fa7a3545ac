"""A run: a named folder, held by one process, with a journal in it and files made from the journal."""

# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

import errno
import json
import os
import re
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cai.errors import InputError
from cai.store import files, parquet
from cai.store.faults import naming
from cai.store.identity import canonical, differences
from cai.store.journal import Journal
from cai.store.lock import HOLDER, LOCK, holding
from cai.store.reader import M, Reader, Stored, Totals

if TYPE_CHECKING:
    import pyarrow as pa

JOURNAL, ABOUT = "journal.sqlite", "about.json"
_RESERVED = {JOURNAL, LOCK, HOLDER, files.MANIFEST}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Run:
    """An open run: read its rows, write its files."""

    name: str
    folder: Path
    journal: Journal
    reader: Reader

    def rows(self, stage: str, model: type[M]) -> Iterator[Stored[M]]:
        """The stage's rows in the order of its items, streamed."""
        return self.reader.rows(stage, model)

    def states(self, stage: str) -> Counter[str]:
        """How many of the stage's rows are in each state."""
        return self.reader.totals(stage).states

    def totals(self, stage: str) -> Totals:
        """States, tokens and wall time of a stage, all passes together."""
        return self.reader.totals(stage)

    def write_export(self, name: str, parts: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
        """Write a Parquet file in one step and return its number of rows; equal rows give equal bytes."""
        with files.replacing(self._own(name)) as file:
            count = parquet.write(file, parts, schema)
        files.add_to_manifest(self.folder, name)
        return count

    def write_text(self, name: str, text: str) -> None:
        """Write a UTF-8 text file in one step."""
        files.write_text(self._own(name), text)
        files.add_to_manifest(self.folder, name)

    def write_about(self, facts: Mapping[str, object]) -> None:
        """Merge facts into about.json: a key given replaces the one there. Times and hardware belong here."""
        self.write_text(ABOUT, files.dump_json({**files.read_json(self.folder / ABOUT), **facts}))

    def _own(self, name: str) -> Path:
        """The path of a file a stage writes, by a name in the run's folder such as `sft.parquet` or `model/card.md`."""
        assert name not in _RESERVED, name
        assert all(_NAME.fullmatch(part) for part in name.split("/")), name
        path = self.folder / name
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path


def run_folder(base: Path, name: str) -> Path:
    """The folder of a run, refused when its name could lead out of `base`."""
    folder = base / name
    if not _NAME.fullmatch(name):
        raise InputError(
            f"run name {name[:120]!r} is not allowed",
            "use up to 100 letters, digits, dots, dashes and underscores, starting with a letter or digit",
        )
    if folder.is_symlink() or folder.resolve().parent != base.resolve():
        raise InputError(f"run {name!r} leads out of {base}", "use another run name")
    return folder


def check_run(base: Path, name: str, *, stage: str, known: Mapping[str, object]) -> None:
    """Raise what `open_run` would, as far as that can be told before any model loads; nothing is written for it.

    `known` is the part of the stage's identity that needs no model.
    """
    folder = run_folder(base, name)
    if not folder.exists():
        _check_place(folder)
        return
    with holding(folder, note=False):
        reader = Reader(folder / JOURNAL)
        stored = reader.identity(stage) if reader.path.is_file() and stage in reader.stages() else None
        if stored is not None and reader.places(stage):
            whole = json.loads(stored)
            part = canonical({key: whole[key] for key in known if key in whole})
            if part != canonical(known):
                raise _made_otherwise(name, stage, part, canonical(known))


def _check_place(folder: Path) -> None:
    """Raise StoreError where the folder cannot be made."""
    above = next(place for place in folder.absolute().parents if place.exists())
    with naming(folder):
        if not above.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{above} is a file")
        if not os.access(above, os.W_OK):
            raise PermissionError(errno.EACCES, f"no right to write in {above}")


@contextmanager
def open_run(base: Path, name: str, *, stage: str, identity: Mapping[str, object]) -> Generator[Run]:
    """Make or reopen the run `base/name` and hold it while the block lasts.

    `identity` is what the stage's rows depend on (settings, constitution, model, templates), as plain JSON values
    without keys or paths of this machine. Raises InputError with the differences when rows made with another identity
    are stored, BusyError when another process holds the run, StoreError when the disk refuses.
    """
    folder = run_folder(base, name)
    with naming(folder):
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            files.sync_folder(folder.parent)
    with holding(folder), closing(Journal(folder / JOURNAL)) as journal:
        files.sweep(folder)
        run = Run(name, folder, journal, Reader(folder / JOURNAL))
        _agree(run, stage, canonical(identity))
        yield run


def _agree(run: Run, stage: str, identity: str) -> None:
    """Note a new stage's identity; refuse to go on with other rows than it would make."""
    stored = run.reader.identity(stage)
    if stored is None or (stored != identity and not run.reader.places(stage)):
        run.journal.set_identity(stage, identity)
    elif stored != identity:
        raise _made_otherwise(run.name, stage, stored, identity)


def _made_otherwise(name: str, stage: str, stored: str, identity: str) -> InputError:
    lines = "".join(f"\n  {line}" for line in differences(stored, identity))
    return InputError(
        f"run {name!r} holds {stage} rows made with something else:{lines}\n  "
        f"go on with what it was made with, use another run name, or remove it with `cai runs rm {name}`"
    )
