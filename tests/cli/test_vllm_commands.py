"""`cai critique` and `cai label` on a real vLLM in this process."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.process import cai_here

pytestmark = pytest.mark.vllm
pytest.importorskip("vllm", reason="the vLLM step of CI installs it")
VLLM = ("--engine", "vllm", "engine.vllm.kv_cache_gib=0.2", "engine.context_length=1024")


def votes(folder: Path, run: str) -> dict[str, list[float]]:
    """Each prompt's probabilities, vote by vote."""
    with closing(sqlite3.connect(folder / "runs" / run / "journal.sqlite")) as connection:
        bodies = [json.loads(body) for (body,) in connection.execute("SELECT body FROM rows")]
    return {b["prompt"]["id"]: [vote["p_a"] for c in b["comparisons"] for vote in c["votes"]] for b in bodies}


def test_critique_and_label_run_on_vllm_and_judge_as_the_transformers_engine_does(tmp_path: Path) -> None:
    """What vLLM wrote is judged by both engines: the same probabilities to a thousandth."""
    wrote = cai_here("critique", "-m", "tiny", *VLLM, "--limit", "32", "--max-tokens", "24", "-r", "r", cwd=tmp_path)
    assert wrote.code == 0, wrote.err
    about = json.loads((tmp_path / "runs" / "r" / "about.json").read_text())["critique"]
    assert about["counts"]["ok"] == 32
    assert about["cached_share"] > 0.3
    assert f"({about['cached_share']:.0%} cached)" in wrote.out
    more = ("label", "--critique", "r", "-m", "tiny", "label.canaries=0")
    for name, engine in (("vllm", VLLM), ("embedded", ())):
        judged = cai_here(*more, *engine, "-r", name, cwd=tmp_path)
        assert judged.code == 0, judged.err
    theirs, ours = votes(tmp_path, "vllm"), votes(tmp_path, "embedded")
    assert theirs.keys() == ours.keys()
    assert sum(map(len, ours.values())) > 8
    for prompt, found in ours.items():
        assert theirs[prompt] == pytest.approx(found, abs=1e-3)
