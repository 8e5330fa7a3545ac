"""`cai label` and `cai doctor` refuse wrong input in one clear line before any model loads."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cai.cli.app import build
from cai.cli.label_job import prepare
from cai.config.engine import EngineSettings, OpenAISettings
from cai.config.label import LabelSettings
from cai.errors import InputError

NO_LOGPROBS = EngineSettings(
    kind="openai", model="m", openai=OpenAISettings(base_url="http://127.0.0.1:9/v1", top_logprobs=0)
)
MUTE = "name: mute\nprinciples:\n  - id: only-critic\n    critique: What is wrong?\n    revise: Mend it.\n"
PAIR = {"prompt": "Hi?", "chosen": "Yes.", "rejected": "No."}


def refused(*words: str, match: str) -> None:
    result = CliRunner().invoke(build("label"), ["label", *words])
    assert isinstance(result.exception, InputError), result.output
    assert result.exception.exit_code == 2
    assert match in str(result.exception)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("-k", "1"), "greater than or equal to 2"),
        (("label.samplse=3",), "did you mean"),
        (("--mode", "guess"), "mode"),
        (("--replies", "a.jsonl", "--pairs", "b.jsonl"), "give one source of replies"),
        (("--pairs", "missing.jsonl"), "no such file"),
        (("--critique", "missing"), "missing"),
        (("--max-cost", "3"), "a cost needs a price"),
        (("--plan", "tournament", "--mode", "list"), "no tournament"),
        (("label.best_of=true",), "best_of belongs to mode list"),
        (("label.panel=weighted",), "need learnt weights"),
        (("-m", "no/such/model/folder"), "no/such/model/folder"),
        (("-r", "../out"), "is not allowed"),
    ],
)
def test_wrong_input(words: tuple[str, ...], match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(*words, match=match)
    assert not (tmp_path / "runs").exists()


def test_a_constitution_without_a_judge_voice(tmp_path: Path) -> None:
    (tmp_path / "mute.yaml").write_text(MUTE)
    refused("-c", str(tmp_path / "mute.yaml"), match="no principle with a `judge` voice")


def test_a_judge_without_log_probs_in_a_mode_that_needs_them(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(PAIR))
    for mode in ("logprob", "cot", "score"):
        with pytest.raises(InputError, match="gives no log-probs, which mode"):
            prepare(LabelSettings(mode=mode, pairs=str(path)), NO_LOGPROBS, tmp_path)  # pyright: ignore
    job = prepare(LabelSettings(mode="text", pairs=str(path)), NO_LOGPROBS, tmp_path)
    assert list(job.judges) == ["m"]
    assert job.source is not None
    assert job.source.count == 1


def test_two_judges_of_one_name_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(PAIR))
    settings = LabelSettings(mode="text", pairs=str(path), judges=(NO_LOGPROBS, NO_LOGPROBS))
    assert list(prepare(settings, NO_LOGPROBS, tmp_path).judges) == ["m", "m#2"]


def test_doctor_refuses_what_it_cannot_measure(tmp_path: Path) -> None:
    for words, match in (
        (("--mode", "guess"), "no mode `guess`"),
        (("--data", str(tmp_path / "none")), "no such folder of public data"),
        (("-c", "no-such-constitution"), "no-such-constitution"),
    ):
        result = CliRunner().invoke(build("doctor"), ["doctor", "tiny", *words])
        assert isinstance(result.exception, InputError), result.output
        assert match in str(result.exception)
