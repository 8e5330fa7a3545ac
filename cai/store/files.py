"""Files that are either old or new, never half written, and the manifest that tells their hashes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cai.store.faults import StoreError, naming

MANIFEST = "manifest.json"


@contextmanager
def replacing(path: Path) -> Generator[BinaryIO]:
    """A file to write that takes the place of `path` when the block ends well: temp, fsync, rename, folder fsync.

    Only the holder of the run's lock writes, so one temporary name per file is enough.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with naming(path):
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path) -> None:
    """Remove what a killed writer left; called with the lock held."""
    for leftover in folder.rglob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text in the place of `path`; a lone surrogate raises UnicodeEncodeError before anything changes."""
    data = text.encode("utf-8")
    with replacing(path) as file:
        file.write(data)


def read_json(path: Path) -> dict[str, object]:
    """A JSON object, or an empty one where there is no such file."""
    if not path.exists():
        return {}
    with naming(path, "read"):
        try:
            return json.loads(path.read_text("utf-8"))
        except ValueError as fault:
            raise StoreError(f"{path}: not JSON any more: {fault}; remove it, and the same command goes on") from fault


def dump_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def add_to_manifest(folder: Path, name: str) -> None:
    """Note the size and sha256 of a file that is now complete; always the last thing done to it."""
    with naming(folder / name, "read"), (folder / name).open("rb") as file:
        entry = {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": file.tell()}
    write_text(folder / MANIFEST, dump_json({**read_json(folder / MANIFEST), name: entry}))
