"""The stages as a whole: what is written, and that nothing depends on kills, faults, order or concurrency."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cai.engine.scripted import ScriptedEngine
from cai.errors import InputError
from cai.judge.label import Candidates
from cai.judge.panel import Asking
from cai.judge.report import diagnostics_lines
from cai.judge.stage import LABEL, revised, usable
from cai.records import Label, Revision, Samples, Usage
from cai.store import open_run
from tests.judge.shown import judging, prompt, saying
from tests.judge.small_stage import EXPORTS, PROMPTS, dying, faulty, reply, run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("whole")
    run(base)
    return base / "r"


def exports(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in EXPORTS}


def test_pairs_load_as_trl_and_datasets_want_them(whole: Path) -> None:
    import datasets

    table = datasets.load_dataset(
        "parquet", data_files=str(whole / "pairs.parquet"), cache_dir=str(whole), split="train"
    )
    row = table[0]  # pyright: ignore
    assert [message["role"] for message in row["prompt"]] == ["user"]
    assert [message["role"] for message in row["chosen"] + row["rejected"]] == ["assistant", "assistant"]
    assert all(0.5 <= p <= 1.0 for p in table["p_chosen"])  # pyright: ignore
    votes = row["votes"]
    assert [vote["first"] for vote in votes] in (["chosen", "rejected"], ["rejected", "chosen"])
    assert row["p_chosen"] == pytest.approx(sum(vote["p_chosen"] for vote in votes) / 2)
    assert row["provenance"] == "samples"
    wins = [(len(r["chosen"][0]["content"]) < len(r["rejected"][0]["content"])) == (r["principles"] == ["shorter"])
            for r in table if r["p_chosen"] > 0.51]  # pyright: ignore  # fmt: skip
    assert wins
    assert all(wins)


def test_the_same_prompt_with_equal_replies_is_not_judged(whole: Path) -> None:
    with open_run(whole.parent, "r", stage="look", identity={}) as held:
        labels = {stored.body.prompt.id: stored.body for stored in held.rows(LABEL, Label) if stored.body}
    same = labels[prompt("Question 7?").id]
    assert (same.flags, same.comparisons, same.replies) == (("one_reply",), (), ("The same.",))
    three = [label for label in labels.values() if len(label.replies) == 3]
    assert three
    assert all(len(label.comparisons) == 3 and label.strengths for label in three)
    assert sum(bool(label.canaries) for label in labels.values()) >= 8


@pytest.mark.parametrize("after", [3, 75, 160])
def test_a_killed_run_goes_on_to_the_same_bytes(after: int, whole: Path, tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-m", "tests.judge.small_stage", str(tmp_path), str(after)],
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    policy, judge = dying(10**6)
    run(tmp_path, policy=policy, judge=judge)
    assert exports(tmp_path / "r") == exports(whole)


def test_faults_and_concurrency_leave_no_trace(whole: Path, tmp_path: Path) -> None:
    run(tmp_path, concurrency=1, judge=faulty())
    assert exports(tmp_path / "r") == exports(whole)


def test_a_second_time_asks_nothing(whole: Path) -> None:
    policy, judge = ScriptedEngine(reply), ScriptedEngine(reply, lambda turns, asked: [0.0, 0.0])
    before = exports(whole)
    counts, _ = run(whole.parent, policy=policy, judge=judge)
    assert not policy.calls
    assert not judge.calls
    assert [count.done_now for count in counts] == [0, 0]
    assert exports(whole) == before


def test_another_judge_is_refused_but_the_samples_stay(whole: Path) -> None:
    with pytest.raises(InputError, match='mode: "logprob" in the run, "text" now'):
        run(whole.parent, asking=Asking(mode="text", seed=5))


def test_equal_replies_of_a_given_pair_are_quarantined(tmp_path: Path) -> None:
    given = [
        Candidates(PROMPTS[0], ("same", "same"), "pairs"),
        Candidates(PROMPTS[1], ("one", "another one"), "pairs"),
    ]
    counts, found = run(tmp_path, candidates=given)
    assert (counts[0].ok, counts[0].quarantined) == (1, 1)
    assert found.pairs == 1
    with open_run(tmp_path, "r", stage="look", identity={}) as held:
        kinds = [(stored.state, stored.kind) for stored in held.rows(LABEL, Label)]
    assert kinds == [("quarantined", "EqualReplies"), ("ok", "")]


def test_nothing_read_is_its_own_flag_and_no_pair(tmp_path: Path) -> None:
    given = [Candidates(PROMPTS[1], ("one", "another one"), "pairs")]
    _, found = run(tmp_path, candidates=given, judge=saying(lambda shown: "Hm."), asking=Asking(mode="text", seed=5))
    assert (found.pairs, found.unread_comparisons) == (0, 1)
    with open_run(tmp_path, "r", stage="look", identity={}) as held:
        (stored,) = held.rows(LABEL, Label)
    assert stored.body is not None
    assert stored.body.flags == ("unread",)
    assert stored.body.comparisons[0].p_a is None
    assert stored.body.comparisons[0].votes[0].raw == "Hm."


def test_empty_cut_and_repeated_replies_are_left_out_and_counted(tmp_path: Path) -> None:
    drawn = Samples(
        prompt=PROMPTS[1], replies=("one", " ", "another one", "cut in the mid", "one"), policy="p", temperature=1.0,
        seed=0, truncated=(False, False, False, True, False),
    )  # fmt: skip
    assert usable(drawn, keep_truncated=True).replies == ("one", "another one", "cut in the mid", "one")
    given = usable(drawn, keep_truncated=False)
    assert (given.replies, given.policy, given.provenance) == (("one", "another one", "one"), "p", "samples")
    _, found = run(tmp_path, candidates=[given])
    assert (found.pairs, found.left_out) == (1, {"empty": 1, "identical": 1, "truncated": 1})
    assert "replies left out: 1 empty, 1 identical, 1 truncated" in "\n".join(diagnostics_lines(found))


def test_revisions_are_marked_as_what_they_are(tmp_path: Path) -> None:
    revision = Revision(
        prompt=PROMPTS[0], draft="draft", steps=(), final="the final reply", constitution="sha",
        models={"draft": "m"}, seed=0, usage=Usage(),
    )  # fmt: skip
    (given,) = revised([revision])
    assert (given.replies, given.provenance, given.policy) == (("draft", "the final reply"), "draft-vs-revision", "m")
    run(tmp_path, candidates=[given], judge=judging())
    with open_run(tmp_path, "r", stage="look", identity={}) as held:
        (stored,) = held.rows(LABEL, Label)
    assert stored.body is not None
    assert stored.body.provenance == "draft-vs-revision"
