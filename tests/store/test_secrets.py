"""A key in the environment, a server's message or the command line reaches no byte of the run's folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr
from small_stage import IDENTITY

from cai.store.secrets import redact

CANARY = "sk-canary-5f0c1e7d9b"
SCRIPT = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from small_stage import *
from cai.errors import EngineFault
async def work(item):
    if item == 3:
        raise EngineFault("401: Incorrect API key provided: " + {CANARY!r})
    return answer(item)
with open_run(Path(sys.argv[1]), "run", stage="test", identity=IDENTITY) as run:
    stage(run, range(10), work)
    export(run)
    run.write_about({{"command": "x"}})
    print([row.error for row in run.rows("test", Answer)])
    print((run.folder / "holder.json").read_text())
    for file in run.folder.iterdir():  # with the write-ahead log still there
        assert {CANARY!r}.encode() not in file.read_bytes(), file
"""


def test_the_canary_is_nowhere(base: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(base), f"engine.api_key={CANARY}", "--token", f"token={CANARY}"]
    environment = {**os.environ, "OPENAI_API_KEY": CANARY}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "401: Incorrect API key provided: ***" in ended.stdout
    assert CANARY not in ended.stdout + ended.stderr
    files = [file for file in base.rglob("*") if file.is_file()]
    assert {"journal.sqlite", "answers.parquet", "about.json", "manifest.json"} <= {file.name for file in files}
    assert not [file for file in files if CANARY.encode() in file.read_bytes()]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("api_key=abcd1234 rest", "api_key=*** rest"),
        ("--api-key abcd1234 rest", "--api-key *** rest"),
        ("api-key: abcd1234", "api-key: ***"),
        ("Authorization: Bearer abcd1234", "Authorization: ***"),
        ("{'token': 'x', 'password': 'abcd1234'}", "{'token': '***', 'password': '***'}"),
        ("max_tokens=256", "max_tokens=256"),
        ("https://user:abcd1234@host/v1", "https://***@host/v1"),
        ("the keyword is monkey", "the keyword is monkey"),
    ],
)
def test_what_is_blanked_and_what_is_kept(text: str, kept: str) -> None:
    assert redact(text) == kept


def test_a_secret_is_no_identity() -> None:
    from cai.store.identity import canonical

    with pytest.raises(TypeError, match="SecretStr"):
        canonical({**IDENTITY, "key": SecretStr(CANARY)})
