"""Runs `cai`: as a process of its own that tells whether it imported torch, or here, where torch is loaded already."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from cai.cli import main

_CODE = """
import atexit, os, sys
atexit.register(lambda: os.write(3, b"torch" if "torch" in sys.modules else b"light"))
sys.argv[0] = "cai"
from cai.cli import main
main()
"""
PLAIN = {"COLUMNS": "100", "NO_COLOR": "1", "OMP_NUM_THREADS": "1", "TERM": "dumb"}
"""Fixed width, no colours."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str
    imported_torch: bool | None = None


def cai(*words: str | Path, cwd: Path, **environment: str) -> Ended:
    """Run `cai WORDS` in a folder, as a process, with more environment variables."""
    reader, writer = os.pipe()
    command = f'exec "$0" -c "$1" "${{@:2}}" 3>&{writer}'
    with subprocess.Popen(
        ["bash", "-c", command, sys.executable, _CODE, *map(str, words)],
        cwd=cwd,
        env={**os.environ, **PLAIN, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=(writer,),
    ) as child:
        os.close(writer)
        out, err = child.communicate(timeout=240)
    with os.fdopen(reader, "rb") as said:
        return Ended(child.returncode, out, err, said.read() == b"torch")


def cai_here(*words: str | Path, cwd: Path) -> Ended:
    """Run `cai WORDS` in a folder within this process: a model's start-up takes no time."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    streams = contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)
    with contextlib.chdir(cwd), _called(*map(str, words)), streams[0], streams[1]:
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _called(*words: str) -> Generator[None]:
    """Set the command line and the terminal's width, as a shell would."""
    argv, environment = sys.argv, dict(os.environ)
    sys.argv = ["cai", *words]
    os.environ.update(PLAIN)
    try:
        yield
    finally:
        sys.argv = argv
        os.environ.clear()
        os.environ.update(environment)
