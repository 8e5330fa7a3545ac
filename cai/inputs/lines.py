"""Lines of a text file that someone else wrote: bounded in length, strictly UTF-8, plain or gzip."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cai.errors import InputError, Where

LINE_LIMIT = 1 << 20
"""Most bytes of one line, and most characters of one prompt."""
RATIO_LIMIT = 100
"""Most bytes that one byte of a gzip file may unfold to, counted once `RATIO_FREE` bytes have come out."""
RATIO_FREE = 16 << 20

_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"


def read_lines(path: Path) -> Iterator[tuple[int, str | InputError]]:
    """Each line with its 1-based number, its end kept; an `InputError` in place of one that cannot be read.

    A line longer than `LINE_LIMIT` is stepped over in pieces, so it never lies in memory as a whole. Raises
    `InputError` where the file as a whole is unreadable: UTF-16, a broken gzip stream, one that unfolds like a bomb.
    """
    with path.open("rb") as raw:
        stream = _unpacked(raw, path) if path.suffix == ".gz" else raw
        number = 0
        while line := _line(stream, raw, path, number + 1):
            number += 1
            if number == 1:
                _refuse_wide(line, path)
                line = line.removeprefix(_BOM)
            if len(line) > LINE_LIMIT:
                _step_over(stream, raw, path, line)
                yield number, _too_long(path, number)
            else:
                yield number, _decoded(line, path, number)


def _unpacked(raw: BinaryIO, path: Path) -> BinaryIO:
    return gzip.GzipFile(filename=path.name, fileobj=raw, mode="rb")  # pyright: ignore[reportReturnType]


def _line(stream: BinaryIO, raw: BinaryIO, path: Path, number: int) -> bytes:
    try:
        line = stream.readline(LINE_LIMIT + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"broken gzip: {error}", "fetch or pack the file again", Where(path, number)) from error
    if stream is not raw and stream.tell() > RATIO_FREE and stream.tell() > RATIO_LIMIT * raw.tell():
        what = f"unfolds to more than {RATIO_LIMIT} times its size, as a gzip bomb does"
        raise InputError(what, f"if you trust it, unpack it first: gunzip {path.name}", Where(path, number))
    return line


def _step_over(stream: BinaryIO, raw: BinaryIO, path: Path, line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = _line(stream, raw, path, 0)


def _too_long(path: Path, number: int) -> InputError:
    return InputError(f"line longer than {LINE_LIMIT:,} bytes", "split or drop it", Where(path, number))


def _decoded(line: bytes, path: Path, number: int) -> str | InputError:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        what = f"not UTF-8 at byte {error.start + 1} of the line"
        return InputError(what, "save it as UTF-8: iconv -f LATIN1 -t UTF-8", Where(path, number, error.start + 1))


def _refuse_wide(line: bytes, path: Path) -> None:
    if line.startswith(_WIDE_BOMS):
        raise InputError("the file is UTF-16", "save it as UTF-8: iconv -f UTF-16 -t UTF-8", Where(path, 1))
