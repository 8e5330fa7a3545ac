"""Runs `cai` as a process of its own and tells whether it imported torch."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_CODE = """
import atexit, os, sys
atexit.register(lambda: os.write(3, b"torch" if "torch" in sys.modules else b"light"))
sys.argv[0] = "cai"
from cai.cli import main
main()
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str
    imported_torch: bool


def cai(*words: str | Path, cwd: Path, **environment: str) -> Ended:
    """Run `cai WORDS` in a folder; columns and colours are fixed."""
    env = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "OMP_NUM_THREADS": "1", "TERM": "dumb", **environment}
    reader, writer = os.pipe()
    command = f'exec "$0" -c "$1" "${{@:2}}" 3>&{writer}'
    with subprocess.Popen(
        ["bash", "-c", command, sys.executable, _CODE, *map(str, words)],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=(writer,),
    ) as child:
        os.close(writer)
        out, err = child.communicate(timeout=240)
    with os.fdopen(reader, "rb") as said:
        return Ended(child.returncode, out, err, said.read() == b"torch")
