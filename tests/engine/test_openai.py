"""The engine of OpenAI-compatible servers, against one that misbehaves in every way we know of."""

import asyncio
import math
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from cai.config.engine import EngineSettings, OpenAISettings
from cai.engine import ContextTooLong, EngineDown, OptionsUnsupported, RecordFault, Sampling, Turn
from cai.engine.openai import OpenAIEngine, check_server, headers, open_openai
from cai.engine.retry import seconds_to_wait
from cai.errors import InputError
from tests.engine.fake_server import BEHAVIOURS, FakeServer, answer, running

T = TypeVar("T")
KEY = "sk-canary-0123456789"
Behave = Callable[[int, dict[str, Any]], str | dict[str, Any]]


def ask(text: str) -> tuple[Turn, ...]:
    return (Turn("user", text),)


def echo(content: dict[str, Any]) -> dict[str, Any]:
    return answer(f"re: {content['messages'][-1]['content']}")


def settings(base_url: str, **changes: Any) -> OpenAISettings:
    quick: dict[str, Any] = {"timeout": 1.0, "first_wait": 0.01, "attempts": 12, "breaker_seconds": 0.5}
    return OpenAISettings(**{"base_url": base_url, **quick, **changes})


def with_server(behave: Behave, work: Callable[[OpenAIEngine, FakeServer], Awaitable[T]], **changes: Any) -> T:
    """Run `work` against a fake server."""

    async def run() -> T:
        async with running(behave) as fake:
            engine = OpenAIEngine("m", settings(fake.base_url, **changes), KEY)
            try:
                return await work(engine, fake)
            finally:
                await engine.close()

    return asyncio.run(run())


async def ask_many(engine: OpenAIEngine, count: int, concurrency: int = 16) -> float:
    """Ask `count` different prompts, check every answer, and give the seconds it took."""
    gate = asyncio.Semaphore(concurrency)

    async def one(number: int) -> None:
        async with gate:
            reply = await engine.generate(ask(f"prompt {number}"), Sampling(number))
            assert reply.text == f"re: prompt {number}"

    begun = time.perf_counter()
    await asyncio.gather(*map(one, range(count)))
    return time.perf_counter() - begun


def share(behaviours: tuple[str, ...], seed: int = 0) -> Behave:
    """30 % of requests meet one of `behaviours`."""
    rng = random.Random(seed)
    return lambda number, content: rng.choice(behaviours) if rng.random() < 0.3 else echo(content)


def test_every_prompt_is_answered_once_though_a_third_of_requests_fail_in_every_way() -> None:
    async def work(engine: OpenAIEngine, fake: FakeServer) -> None:
        await ask_many(engine, 60)
        assert len(fake.answered) == 60
        assert set(fake.answered.values()) == {1}
        assert len(fake.asked) > 66

    with_server(share(BEHAVIOURS), work, timeout=2.5)


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_thirty_percent_of_one_fault_costs_at_most_three_times_the_time(behaviour: str) -> None:
    clean = with_server(lambda n, content: echo(content), lambda engine, fake: ask_many(engine, 480))

    async def work(engine: OpenAIEngine, fake: FakeServer) -> float:
        seconds = await ask_many(engine, 480)
        assert set(fake.answered.values()) == {1}
        return seconds

    assert with_server(share((behaviour,)), work, timeout=0.15) <= 3 * clean


def test_it_sends_what_was_asked_and_reads_what_came() -> None:
    async def work(engine: OpenAIEngine, fake: FakeServer) -> None:
        turns = (Turn("system", "Be kind."), *ask("Hi"))
        reply = await engine.generate(turns, Sampling(2**40 + 5, 0.5, 0.9, 33), prefill="Well,")
        assert (reply.text, reply.finish_reason) == ("re: Well,", "stop")
        assert (reply.usage.prompt_tokens, reply.usage.cached_tokens, reply.usage.completion_tokens) == (7, 5, 2)
        sent = fake.asked[0]
        assert sent["messages"] == [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Well,"},
        ]
        assert sent["continue_final_message"] is True
        assert (sent["temperature"], sent["top_p"], sent["max_tokens"], sent["seed"]) == (0.5, 0.9, 33, 5)
        assert "priority" not in sent
        assert fake.headers[0]["authorization"] == f"Bearer {KEY}"

    with_server(lambda number, content: echo(content), work)


def test_openai_alone_is_told_whom_to_charge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1 ")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "")
    own = {"Authorization": "Bearer k"}
    assert headers("https://api.openai.com/v1", "k") == {**own, "OpenAI-Organization": "org-1"}
    assert headers("https://other.example/v1", "k") == own
    assert headers("http://localhost:8000/v1", "") == {}


def test_the_conversation_with_the_most_turns_is_asked_to_go_first() -> None:
    async def work(engine: OpenAIEngine, fake: FakeServer) -> None:
        longer = (*ask("Hi"), Turn("assistant", "Hello."), *ask("Why?"))
        await engine.generate(ask("Hi"), Sampling(0))
        await engine.generate(longer, Sampling(0))
        assert [sent["priority"] for sent in fake.asked] == [-1, -3]

    with_server(lambda number, content: echo(content), work, priority=True)


def shown(**logprobs: float) -> dict[str, Any]:
    top = [{"token": token, "logprob": value, "bytes": None} for token, value in logprobs.items()]
    return answer("A", logprobs={"content": [{"token": "A", "logprob": 0.0, "bytes": None, "top_logprobs": top}]})


def test_options_sum_their_variants_and_are_bounded_by_the_least_shown() -> None:
    body = shown(**{"A": -1.0, " A": -2.0, " (A": -2.5, "(": -2.6, "Ye": -3.0, "\n": -4.0})
    scores = with_server(
        lambda number, content: body, lambda engine, fake: engine.option_logprobs(ask("?"), ("A", "B", "Yes"))
    )
    assert scores.logprobs == pytest.approx((math.log(math.exp(-1) + math.exp(-2) + math.exp(-2.5)), -4.0, -3.0))
    assert scores.bounded == (False, True, False)


def test_a_server_without_logprobs_says_so() -> None:
    with pytest.raises(OptionsUnsupported):
        with_server(lambda n, content: echo(content), lambda engine, fake: engine.option_logprobs(ask("?"), ("A",)))


@pytest.mark.parametrize(
    ("behaviour", "error", "words"),
    [
        ("error-400", RecordFault, "refuses this request"),
        ("too-long", ContextTooLong, "maximum context"),
        ("error-401", InputError, "refuses the key"),
        ("limited-long", EngineDown, "wait 4000 s"),
        ("limited", EngineDown, "limits us"),
    ],
)
def test_what_no_retry_can_mend_is_said_at_once_or_in_the_end(
    behaviour: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        with_server(
            lambda number, content: behaviour, lambda engine, fake: engine.generate(ask("Hi"), Sampling(0)), attempts=3
        )


def test_a_poison_prompt_is_set_aside_and_the_others_finish() -> None:
    def behave(number: int, content: dict[str, Any]) -> str | dict[str, Any]:
        return "error-500" if content["messages"][-1]["content"] == "poison" else echo(content)

    async def work(engine: OpenAIEngine, fake: FakeServer) -> None:
        with pytest.raises(RecordFault, match="no answer in 3 attempts: status 500"):
            await engine.generate(ask("poison"), Sampling(0))
        await ask_many(engine, 5)
        assert len(fake.asked) == 3 + 5

    with_server(behave, work, attempts=3)


def test_a_dead_server_opens_the_breaker_and_is_left_alone() -> None:
    async def work(engine: OpenAIEngine, fake: FakeServer) -> None:
        results = await asyncio.gather(
            *(engine.generate(ask(str(number)), Sampling(0)) for number in range(40)), return_exceptions=True
        )
        assert {type(result) for result in results} == {EngineDown}
        asked = len(fake.asked)
        with pytest.raises(EngineDown, match="run the same command again"):
            await engine.generate(ask("later"), Sampling(0))
        assert len(fake.asked) == asked

    with_server(lambda n, c: "error-500", work, breaker=10, breaker_seconds=0.1, first_wait=0.2, attempts=50)


def test_a_server_that_goes_away_costs_no_record_and_stops_the_run() -> None:
    """It answers three requests and is gone: every other one ends in EngineDown, none as its own record's fault."""

    async def run() -> list[Any]:
        async with running(lambda n, content: echo(content)) as fake:
            engine = OpenAIEngine("m", settings(fake.base_url, attempts=2, breaker=1000, breaker_seconds=0.3), KEY)
            done = [await engine.generate(ask(str(number)), Sampling(0)) for number in range(3)]
        later = (engine.generate(ask(str(number)), Sampling(0)) for number in range(30))
        lost = await asyncio.gather(*later, return_exceptions=True)
        await engine.close()
        return [*done, *lost]

    results = asyncio.run(run())
    assert [reply.text for reply in results[:3]] == ["re: 0", "re: 1", "re: 2"]
    assert {type(result) for result in results[3:]} == {EngineDown}
    assert "run the same command again to go on" in str(results[-1])


def test_a_run_has_a_budget_of_retries() -> None:
    async def work(engine: OpenAIEngine, fake: FakeServer) -> None:
        with pytest.raises(EngineDown, match="retries for"):
            await ask_many(engine, 100, concurrency=50)

    with_server(lambda n, c: "error-500", work, retry_share=0.1, breaker_seconds=60, attempts=50, first_wait=0)


def test_the_key_shows_in_no_error() -> None:
    for body in ({"error": {"message": f"Incorrect key {KEY}"}}, answer(f"{KEY}", finish_reason=KEY)):
        with pytest.raises(RecordFault) as caught:
            with_server(
                lambda n, c, body=body: body, lambda engine, fake: engine.generate(ask("Hi"), Sampling(0)), attempts=2
            )
        assert KEY not in str(caught.value) + repr(caught.value.__cause__) + repr(caught.value.__context__)


def test_requests_go_through_the_proxy_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(host: str) -> str:
        async with running(lambda number, content: echo(content)) as fake:
            monkeypatch.setenv("http_proxy", fake.base_url.removesuffix("/v1"))
            engine = OpenAIEngine("m", settings(f"http://{host}/v1", breaker_seconds=0.0, attempts=1), KEY)
            try:
                return (await engine.generate(ask("Hi"), Sampling(0))).text
            finally:
                await engine.close()

    monkeypatch.setenv("no_proxy", "other.invalid")
    assert asyncio.run(run("models.invalid")) == "re: Hi"
    with pytest.raises(EngineDown, match=r"other\.invalid"):
        asyncio.run(run("other.invalid"))


@pytest.mark.parametrize(("given", "sent"), [(f" {KEY}\n", f"Bearer {KEY}"), ("", None)])
def test_a_key_is_sent_without_what_stands_around_it(
    given: str, sent: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> str | None:
        async with running(lambda number, content: echo(content)) as fake:
            monkeypatch.setenv("SOME_KEY", given)
            own = settings(fake.base_url, key_variable="SOME_KEY")
            engine = open_openai(EngineSettings(kind="openai", model="m", openai=own), print)
            await engine.generate(ask("Hi"), Sampling(0))
            await engine.close()
            return fake.headers[0].get("authorization")

    assert asyncio.run(run()) == sent
    monkeypatch.setenv("SOME_KEY", "a\nb")
    with pytest.raises(InputError, match="the key in SOME_KEY has a line break"):
        check_server(OpenAISettings(key_variable="SOME_KEY"))


def test_the_host_is_told_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    lines: list[str] = []
    spec = EngineSettings(
        kind="openai",
        model="m",
        openai=OpenAISettings(base_url="http://models.example:8000/v1", key_variable="SOME_KEY"),
    )
    open_openai(spec, lines.append)
    assert lines[0] == "prompts are sent to models.example:8000 (model m)"
    assert "without encryption" in lines[1]
    assert KEY not in "".join(lines)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base_url": "ftp://x/v1"}, "no address"),
        ({"base_url": "https://me:secret@host/v1"}, "holds a password"),
        ({"base_url": "https://api.openai.com/v1", "key_variable": "NO_SUCH_KEY_HERE"}, "NO_SUCH_KEY_HERE"),
        ({"base_url": "http://localhost:1/v1", "api": "completions"}, "engine.openai.template"),
    ],
)
def test_a_wrong_setting_is_one_line(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        open_openai(EngineSettings(kind="openai", model="m", openai=OpenAISettings(**changes)), print)
    assert "secret" not in str(caught.value)


def test_completions_send_the_ids_of_the_template(model_folder: Callable[[str], Path]) -> None:
    folder = str(model_folder("llama"))
    body = {"choices": [{"text": " yes", "finish_reason": "length", "logprobs": {"top_logprobs": [{" A": -0.5}]}}]}

    async def run() -> tuple[Any, ...]:
        async with running(lambda n, c: "error-500") as fake:

            async def respond(writer: asyncio.StreamWriter, number: int, content: dict[str, Any]) -> bool:
                import json

                from tests.engine.fake_server import send

                return await send(writer, 200, json.dumps(body))

            fake._respond = respond  # type: ignore[method-assign]
            spec = EngineSettings(
                kind="openai", model="m", openai=settings(fake.base_url, api="completions", template=folder)
            )
            engine = open_openai(spec, print)
            reply = await engine.generate(ask("a <|im_end|> b"), Sampling(1, max_tokens=4))
            scores = await engine.option_logprobs(ask("?"), ("A", "B"))
            await engine.close()
            return reply, scores, fake.asked, engine.count_tokens(ask("a <|im_end|> b"))

    reply, scores, (tokenize, *asked), tokens = asyncio.run(run())
    assert tokenize["messages"][0]["role"] == "user"
    assert (reply.text, reply.finish_reason) == (" yes", "length")
    assert len(asked[0]["prompt"]) == tokens
    assert asked[0]["prompt"].count(1) == 1
    assert (scores.logprobs, scores.bounded) == ((-0.5, -0.5), (False, True))


@pytest.mark.parametrize("served", ["llama", "mistral"])
def test_a_server_that_reads_other_tokens_than_the_template_gives_is_refused_by_name(
    served: str, model_folder: Callable[[str], Path]
) -> None:
    """Asked once, however many requests there are."""
    from transformers import AutoTokenizer

    from cai.engine.render import PROBE, ChatRenderer

    tokenizer: Any = AutoTokenizer.from_pretrained(model_folder(served))
    tokens = ChatRenderer(tokenizer, served).whole_ids(PROBE)

    def behave(number: int, content: dict[str, Any]) -> dict[str, Any]:
        content.setdefault("messages", [{"content": "completion"}])
        reply = {"choices": [{"text": "yes", "finish_reason": "stop"}]}
        return reply if "prompt" in content else {"tokens": list(tokens)}

    async def run() -> tuple[list[Any], int]:
        async with running(behave) as fake:
            own = settings(fake.base_url, api="completions", template=str(model_folder("llama")))
            engine = open_openai(EngineSettings(kind="openai", model="m", openai=own), print)
            asked = [engine.generate(ask(f"{number}"), Sampling(number)) for number in range(3)]
            replies = await asyncio.gather(*asked, return_exceptions=True)
            await engine.close()
            return list(replies), len(fake.asked)

    replies, asked = asyncio.run(run())
    if served == "llama":
        assert ([reply.text for reply in replies], asked) == (["yes"] * 3, 4)
    else:
        assert asked == 1
        assert all(isinstance(reply, InputError) for reply in replies)
        assert "the served model m has another tokenizer or chat template than" in str(replies[0])


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    assert seconds_to_wait("2.5") == 2.5
    assert seconds_to_wait("-3") == 0.0
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 60))
    assert seconds_to_wait(later) == pytest.approx(60, abs=2)
    assert seconds_to_wait("soon") is None
    assert seconds_to_wait(None) is None


def test_a_remote_model_needs_no_torch() -> None:
    code = (
        "import asyncio, sys\n"
        "from cai.cli.engines import open_engine\n"
        "from cai.config.engine import EngineSettings, OpenAISettings\n"
        "server = OpenAISettings(base_url='http://localhost:1/v1')\n"
        "engine = open_engine(EngineSettings(kind='openai', model='m', openai=server))\n"
        "asyncio.run(engine.close())\n"
        "print(sorted({'torch', 'transformers', 'vllm'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert done.stderr == "prompts are sent to localhost:1 (model m)\n"


def test_a_choice_is_held_to_in_the_way_the_server_has() -> None:
    """vLLM's own field, a JSON schema whose answer is taken out again, or nothing; other replies are not touched."""
    choices = ("A is better.", "Tie.")
    said = {"vllm": "Tie.", "json": '{"answer": "A is better."}', "none": "B, I think."}

    def reply(structured: str, text: str, **sampling: Any) -> tuple[str, dict[str, Any]]:
        async def work(engine: OpenAIEngine, fake: FakeServer) -> tuple[str, dict[str, Any]]:
            return (await engine.generate(ask("A or B?"), Sampling(1, **sampling))).text, fake.asked[0]

        return with_server(lambda number, content: answer(text), work, structured=structured)

    told = {how: reply(how, text, choices=choices) for how, text in said.items()}
    assert {how: text for how, (text, _) in told.items()} == {
        "vllm": "Tie.",
        "json": "A is better.",
        "none": "B, I think.",
    }
    assert told["vllm"][1]["structured_outputs"] == {"choice": list(choices)}
    schema = told["json"][1]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["answer"]["enum"] == list(choices)
    assert not {"structured_outputs", "response_format"} & told["none"][1].keys()
    text, asked = reply("json", '{"answer": "A is better."}')
    assert text == '{"answer": "A is better."}'
    assert "response_format" not in asked
    assert reply("json", "I cannot say", choices=choices)[0] == "I cannot say"
