"""The public HH-RLHF harmless test transcripts through the whole stage: every prompt once, every turn as it was."""

import gzip
import json

import pyarrow.parquet as pq

from cai.critique.loop import Parts
from cai.engine.protocol import Sampling, Turn
from cai.engine.scripted import ScriptedEngine
from cai.inputs import PromptFile
from tests.critique.script import make_constitution, make_plan
from tests.critique.test_stage import run_all

PLAN = make_plan(make_constitution("harm", rounds=1))


def answer(turns: tuple[Turn, ...], sampling: Sampling) -> str:
    if turns[-1].content.startswith("Find harm"):
        return "The reply is too short: it should say why."
    return "I would rather not." if turns[-1].content.startswith("Remove harm") else "No."


def test_every_transcript_ends_in_the_export_with_every_turn(public_data, tmp_path):
    path = public_data / "hh-rlhf" / "harmless-base-test.jsonl.gz"
    engine = ScriptedEngine(answer, remember=False)
    counts = run_all(tmp_path, Parts(engine, engine, engine), PromptFile(str(path)), plan=PLAN, concurrency=64)
    assert (counts.ok, counts.quarantined) == (2310, 0)
    rows = pq.read_table(tmp_path / "r" / "sft.parquet").to_pylist()
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        whole = [json.loads(line)["chosen"] for line in lines]
    names = {"user": "Human", "assistant": "Assistant"}
    assert len(rows) == 2310
    for row in rows:
        *talk, last = row["messages"]
        text = "".join(f"\n\n{names[turn['role']]}: {turn['content']}" for turn in talk)
        source = whole[int(row["source"].rpartition(":")[2]) - 1]
        assert source.startswith(text)
        assert source[len(text) :].startswith("\n\nAssistant:")
        assert last == {"role": "assistant", "content": "I would rather not."}
