"""Engines on a real Ray cluster: two machines are simulated on this one, engines and machines are killed."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cai.cli.engines import open_engine
from cai.config.engine import EngineSettings, RaySettings
from cai.engine import ContextTooLong, EngineFault, RecordFault, Sampling, Turn
from cai.engine.ray_engine import RayEngine, check_installed, join_cluster
from cai.errors import InputError
from tests.cli.process import PLAIN, cai_here
from tests.cli.test_critique import exports
from tests.engine.processes import children, stored
from tests.engine.scripted_actor import Letters, Scripted
from tests.engine.small_models import build

pytestmark = pytest.mark.ray
pytest.importorskip("ray", reason="the Ray step of CI installs it")
WAIT = 400
"""Seconds that engines may take to come up on a busy machine."""
CRITIQUE = ("critique", "--limit", "24", "--max-tokens", "16", "--rounds", "2", "-r", "r")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("llama", tmp_path_factory.mktemp("model") / "random")


@pytest.fixture(scope="module")
def alone(model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the run exports without Ray."""
    folder = tmp_path_factory.mktemp("alone")
    ended = cai_here(*CRITIQUE, "-m", str(model), cwd=folder)
    assert ended.code == 0, ended.err
    return exports(folder / "runs" / "r")


def patiently(start: Callable[[], Any]) -> Any:
    """What Ray starts; it gives its own processes 30 seconds to come up, which a busy machine may not do."""
    for _ in range(4):
        try:
            return start()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - Ray raises a bare one, or means to end the process
            late = error
    raise late


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two machines with one CPU each, and this process connected to them."""
    check_installed()
    import ray
    from ray.cluster_utils import Cluster

    quick = {"health_check_period_ms": 1000, "health_check_timeout_ms": 10000, "health_check_failure_threshold": 3}
    head = {"num_cpus": 1, "_system_config": quick, "include_dashboard": False}
    machines = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
    machines.second = patiently(lambda: machines.add_node(num_cpus=1))
    join_cluster(RaySettings(address=machines.address), print)
    yield machines
    ray.shutdown()
    machines.shutdown()


def grown(folder: Path) -> bool:
    """Whether the run in a folder has stored some of its records."""
    return stored(folder / "runs" / "r" / "journal.sqlite") >= 3


def actors_of(driver: int) -> list[int]:
    """Process ids of the engines below a driver's process."""
    return children(driver, "ray::EngineActor")


def states() -> dict[str, str]:
    """By its id, what the cluster that this process is in says of each actor that it ever had."""
    from ray._private.state import state

    return {name: told["State"] for name, told in state.actor_table(None).items()}


def begun(folder: Path, model: Path, *own: str) -> subprocess.Popen[str]:
    """The run as a process of its own, on Ray."""
    code = "import sys; sys.argv[0] = 'cai'; from cai.cli import main; main()"
    words = [*CRITIQUE, "-m", str(model), "--engine", "ray", "engine.concurrency=4", *own]
    environment = {**os.environ, **PLAIN}
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(ready: Callable[[], bool], child: subprocess.Popen[str]) -> None:
    """Wait while the run goes on; it must not end before."""
    while child.poll() is None and not ready():
        time.sleep(0.05)
    assert child.poll() is None, child.communicate()[1]


def asleep_until(ready: Callable[[], bool], child: subprocess.Popen[str]) -> None:
    """Let the driver sleep until its engines are up: a run that one has ended by itself would not miss the other."""
    child.send_signal(signal.SIGSTOP)
    wait_until(ready, child)
    child.send_signal(signal.SIGCONT)


def test_an_engine_killed_in_mid_run_changes_no_byte_of_the_export(
    model: Path, alone: list[str], tmp_path: Path
) -> None:
    # Half a CPU each, so that both fit where this test may use one only.
    child = begun(tmp_path, model, "engine.ray.address=local", "engine.ray.cpus=0.5")
    wait_until(lambda: bool(actors_of(child.pid)), child)
    asleep_until(lambda: len(actors_of(child.pid)) == 2, child)
    wait_until(lambda: grown(tmp_path), child)
    os.kill(actors_of(child.pid)[0], signal.SIGKILL)
    _, err = child.communicate(timeout=WAIT)
    assert child.returncode == 0, err
    assert err.count("warning: an engine died") == 1
    assert exports(tmp_path / "runs" / "r") == alone


def test_a_machine_lost_in_mid_run_changes_no_byte_of_the_export(
    cluster: Any, model: Path, alone: list[str], tmp_path: Path
) -> None:
    """Its engine waits for room, and starts on a machine that joins later, as an autoscaler would add one."""
    before = set(states())
    child = begun(tmp_path, model, f"engine.ray.address={cluster.address}")
    wait_until(lambda: len(states().keys() - before) == 2, child)
    asleep_until(lambda: [states()[name] for name in states().keys() - before] == ["ALIVE"] * 2, child)
    wait_until(lambda: grown(tmp_path), child)
    cluster.remove_node(cluster.second, allow_graceful=False)
    # Here and not in a thread: Ray sets signal handlers when a machine joins.
    cluster.second = patiently(lambda: cluster.add_node(num_cpus=1))
    _, err = child.communicate(timeout=WAIT)
    assert child.returncode == 0, err
    assert "warning: an engine died" in err
    assert exports(tmp_path / "runs" / "r") == alone


def pool(opener: Any, actors: int = 2, *, direct: bool = True) -> RayEngine:
    spec = EngineSettings(kind="ray", model="scripted", ray=RaySettings(actors=actors, wait=WAIT, direct=direct))
    return RayEngine(spec, opener, Letters(), print)


@pytest.mark.parametrize("direct", [True, False])
def test_faults_and_answers_arrive_as_they_left(cluster: Any, direct: bool) -> None:
    def opener(spec: EngineSettings) -> Any:
        def answer(turns: tuple[Turn, ...], sampling: Sampling) -> str:
            if turns[-1].content == "fault":
                raise EngineFault("it may pass")
            if turns[-1].content == "poison":
                raise RecordFault("never")
            return f"{spec.kind} {turns[-1].content} {sampling.seed}"

        return Scripted(answer, lambda turns, options: [-1.0 * len(option) for option in options], context_length=9)

    async def ask(text: str) -> Any:
        return await engine.generate((Turn("user", text),), Sampling(7))

    async def run() -> list[Any]:
        asked = [ask("hello"), ask("fault"), ask("poison"), ask("long " * 20)]
        return list(await asyncio.gather(*asked, return_exceptions=True))

    engine = pool(opener, direct=direct)
    answer, fault, poison, long = asyncio.run(run())
    assert (answer.text, answer.usage.prompt_tokens) == ("transformers hello 7", 1)
    assert [(type(error), str(error)) for error in (fault, poison)] == [
        (EngineFault, "it may pass"),
        (RecordFault, "never"),
    ]
    assert type(long) is ContextTooLong
    scores = asyncio.run(engine.option_logprobs((Turn("user", "A or No?"),), ("A", "No")))
    assert (scores.logprobs, scores.bounded) == ((-1.0, -2.0), (False, False))
    assert engine.context_length == 9
    asyncio.run(engine.close())


def test_an_engine_whose_port_is_closed_is_told_with_what_to_set(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(address: Any) -> Any:
        raise ConnectionRefusedError("nobody answers")

    monkeypatch.setattr("cai.engine.wire.Line.to", refused)
    engine = pool(lambda spec: Scripted(lambda turns, sampling: "hello"), actors=1)
    with pytest.raises(InputError, match=r"engine at .*:\d+ cannot be reached: nobody answers; .*direct=false"):
        asyncio.run(engine.generate((Turn("user", "hi"),), Sampling(0)))
    asyncio.run(engine.close())


def test_engines_that_are_not_the_same_are_refused_by_name(cluster: Any) -> None:
    class ReadsOtherwise(Scripted):
        def encode(self, turns: tuple[Turn, ...], prefill: str = "") -> tuple[int, ...]:
            return (1, 2, 3)

    def opener(spec: EngineSettings) -> Any:
        return Scripted(lambda turns, sampling: "hello", model=f"process {os.getpid()}")

    def reads_otherwise(spec: EngineSettings) -> Any:
        return ReadsOtherwise(lambda turns, sampling: "hello")

    async def ask_until_both_are_up() -> None:
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            await engine.generate((Turn("user", "hi"),), Sampling(0))
            await asyncio.sleep(0.05)

    with pytest.raises(InputError, match=r"engine on .* has another tokenizer or chat template for scripted"):
        pool(reads_otherwise, actors=1)
    engine = pool(opener)
    with pytest.raises(InputError, match=r"engines of one pool differ: fingerprint .* was asked first"):
        asyncio.run(ask_until_both_are_up())
    asyncio.run(engine.close())


def test_a_model_that_no_actor_can_open_is_one_line(cluster: Any) -> None:
    def opener(spec: EngineSettings) -> Any:
        raise InputError("there is no such model", "give another one")

    with pytest.raises(InputError, match=r"^there is no such model; give another one$"):
        pool(opener)


def test_new_weights_reach_every_engine_and_those_that_come_later(cluster: Any, model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    weights = AutoModelForCausalLM.from_pretrained(model, dtype="float32")
    with torch.no_grad():
        for weight in weights.parameters():
            weight.mul_(1 + 0.5 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    turns = [(Turn("user", f"Is it kind? {number}"),) for number in range(8)]

    async def replies(engine: Any) -> list[str]:
        asked = (engine.generate(each, Sampling(0, max_tokens=8)) for each in turns)
        return [reply.text for reply in await asyncio.gather(*asked)]

    async def updated(engine: Any) -> tuple[list[str], str]:
        await engine.update_weights(weights.state_dict().items())
        return await replies(engine), engine.fingerprint

    single = open_engine(EngineSettings(model=str(model)))
    many: Any = open_engine(EngineSettings(kind="ray", model=str(model)))
    before = asyncio.run(replies(single))
    assert asyncio.run(replies(many)) == before
    assert many.fingerprint == single.fingerprint
    after = asyncio.run(updated(single))
    assert asyncio.run(updated(many)) == after
    assert after[0] != before
    os.kill(actors_of(os.getpid())[0], signal.SIGKILL)
    assert asyncio.run(replies(many)) == after[0]
    for engine in (single, many):
        asyncio.run(engine.close())


def test_vllm_in_actors_answers_as_the_transformers_engine(cluster: Any, tmp_path: Path) -> None:
    pytest.importorskip("vllm", reason="the vLLM step of CI installs it")
    folder = str(build("llama", tmp_path / "model", num_key_value_heads=4, hidden_size=128))
    turns = [(Turn("user", f"How do I take lamp {number} off the wall?"),) for number in range(6)]

    async def told(engine: Any) -> tuple[list[str], list[tuple[float, ...]]]:
        replies = await asyncio.gather(*(engine.generate(each, Sampling(0, 0.0, max_tokens=16)) for each in turns))
        scores = await asyncio.gather(*(engine.option_logprobs(each, ("A", "B")) for each in turns))
        await engine.close()
        return [reply.text for reply in replies], [score.logprobs for score in scores]

    single = asyncio.run(told(open_engine(EngineSettings(model=folder))))
    spec = EngineSettings.model_validate({"kind": "ray:vllm", "model": folder, "vllm": {"kv_cache_gib": 0.1}})
    many = asyncio.run(told(open_engine(spec)))
    assert many[0] == single[0]
    for ours, theirs in zip(single[1], many[1], strict=True):
        assert theirs == pytest.approx(ours, abs=1e-3)


def test_more_actors_than_a_machine_can_hold_are_refused() -> None:
    """Runs last: it leaves the cluster that the others share."""
    import ray

    ray.shutdown()
    with pytest.raises(InputError, match=r"engine\.ray\.actors: 5000 actors of 1 CPUs do not fit on this machine"):
        join_cluster(RaySettings(actors=5000, address="local"), print)
    with pytest.raises(InputError, match=r"engine\.ray\.address: there is no Ray cluster at 127\.0\.0\.1:9"):
        join_cluster(RaySettings(address="127.0.0.1:9"), print)
    assert not ray.is_initialized()
