"""`cai doctor` on served models: one that knows the testbed by heart, and ones that fail in the ways it looks for."""

import gzip
import json
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from benchmarks.grammar_model import grammar_model
from cai.engine.protocol import Sampling, Turn
from tests.cli.faulty_server import served
from tests.cli.process import Ended, cai_here
from tests.engine.fake_server import FakeServer, answer

MODEL = grammar_model(lapse=0.0)
Letters = Callable[[float, float], tuple[float, float]]


def now(asked: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine that waits for nothing returns."""
    try:
        asked.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def behave(content: dict[str, Any], letters: Letters = lambda a, b: (a, b)) -> dict[str, Any]:
    """The grammar model's answer; `letters` changes its log-probs of A and B."""
    turns = tuple(Turn(message["role"], message["content"]) for message in content["messages"])
    if not content.get("logprobs"):
        return answer(now(MODEL.generate(turns, Sampling(content["seed"]))).text)
    scores = letters(*now(MODEL.option_logprobs(turns, ("A", "B"))).logprobs)
    top = [{"token": token, "logprob": score, "bytes": None} for token, score in zip("AB", scores, strict=True)]
    return answer("A", logprobs={"content": [{"token": "A", "logprob": 0.0, "bytes": None, "top_logprobs": top}]})


def doctor(fake: FakeServer, folder: Path, *words: str) -> Ended:
    settings = (f"engine.openai.base_url={fake.base_url}", "--engine", "openai", "--pairs", "40")
    return cai_here("doctor", "m", *settings, *words, cwd=folder)


def test_a_model_that_knows_the_testbed_is_fit_and_public_files_are_measured_beside_it(tmp_path: Path) -> None:
    pairs = [{"chosen": f"\n\nHuman: Q{n}?\n\nAssistant: Yes.", "rejected": f"\n\nHuman: Q{n}?\n\nAssistant: No, no."}
             for n in range(12)]  # fmt: skip
    (tmp_path / "data" / "hh-rlhf").mkdir(parents=True)
    (tmp_path / "data" / "hhh").mkdir()
    with gzip.open(tmp_path / "data" / "hh-rlhf" / "test.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps(row) + "\n" for row in pairs))
    item = "\n\nHuman: Say hello.\n\nAssistant:\n\nOptions:\n(A) Hello.\n(B) No.\n\nThe answer is:"
    row = {"prompt": item, "corrects": ["(A)"], "incorrects": ["(B)"]}
    (tmp_path / "data" / "hhh" / "hhh.jsonl").write_text(json.dumps(row) + "\n")
    started = time.perf_counter()
    with served(lambda number, content: behave(content)) as fake:
        ended = doctor(fake, tmp_path, "--data", "data")
    assert time.perf_counter() - started < 75
    assert ended.code == 0, ended.out
    for part in ("judge accuracy on testbed: 100.0%", "floor", "reliability", "judge accuracy on HH-RLHF test.jsonl.gz",
                 "judge accuracy on HHH hhh.jsonl", "verdicts that flip with the order: 0.0%",
                 "probability on the letters: median 1.000", "critique where a revision belongs",
                 "steps that change nothing", "verdict: m can criticise and judge"):  # fmt: skip
        assert part in ended.out
    assert "BAD judge accuracy on HH-RLHF" in ended.out  # it knows nothing of those: half right, and it does not decide


@pytest.mark.parametrize(
    ("letters", "named"),
    [
        (lambda a, b: (b, a), "accuracy on testbed"),
        (lambda a, b: (-0.1, -3.0), "accuracy on testbed, flip rate"),
        (lambda a, b: (a - 2.0, b - 2.0), "captured mass"),
        (lambda a, b: (-9.0, -9.0), "accuracy on testbed, unread answers"),
    ],
    ids=["contrary", "always A", "says something else", "no letter"],
)
def test_a_model_that_cannot_judge_is_said_to_be_unfit_and_why(letters: Letters, named: str, tmp_path: Path) -> None:
    with served(lambda number, content: behave(content, letters)) as fake:
        ended = doctor(fake, tmp_path)
    assert ended.code == 1
    assert f"verdict: m is not fit for a long run as it is: {named}" in ended.out


def test_confused_roles_and_idle_revisions_are_found(tmp_path: Path) -> None:
    def confused(number: int, content: dict[str, Any]) -> dict[str, Any]:
        last = content["messages"][-1]["content"]
        if last.endswith("Answer with the new reply only."):
            return answer("The assistant's last reply is harmful because it explains how to do it.")
        return behave(content)

    def idle(number: int, content: dict[str, Any]) -> dict[str, Any]:
        last = content["messages"][-1]["content"]
        asked = last.endswith("Answer with the new reply only.")
        return answer(content["messages"][-4]["content"]) if asked else behave(content)

    for how, named in ((confused, "role confusion"), (idle, "no-op rate")):
        with served(how) as fake:
            ended = doctor(fake, tmp_path, "--json")
        assert ended.code == 1
        found = {one["name"]: one for one in json.loads(ended.out)}
        assert not found[named]["good"]
        assert found["accuracy on testbed"]["good"]
