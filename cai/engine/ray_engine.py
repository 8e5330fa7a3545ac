"""Many engines on a Ray cluster behind one: actors that each hold the whole model, asked by one driver.

Ray starts processes, places them on machines, carries messages and notices deaths. It is told how many actors we want
and what each takes; whether machines are added for them is its autoscaler's business.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, cast

from cai.engine.files import find_template
from cai.engine.pool import Pool, WorkerLost
from cai.engine.protocol import Completion, OptionScores, Sampling, TrainableEngine, Turn
from cai.engine.ray_actor import EngineActor, Facts, Fault
from cai.engine.render import PROBE, ChatRenderer
from cai.engine.wire import Line, LineBroken
from cai.errors import EngineDown, InputError, Where
from cai.seeds import content_id

if TYPE_CHECKING:
    from torch import Tensor

    from cai.config.engine import EngineSettings, RaySettings

Opener = Callable[["EngineSettings"], TrainableEngine]
Announce = Callable[[str], None]
SUPPORTED = ((2, 50), (3, 0))
"""The oldest version that has what is used here, and the first one that may not."""
SPARE_CALLS = 16
"""Calls that an actor takes at a time beside requests."""
LAST_WORDS = 10.0
"""Most seconds to wait for Ray's word about an engine whose connection broke."""
OWN_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # On a busy machine Ray's own processes take longer to come up than it waits for them.
    "RAY_agent_register_timeout_ms": "120000",
    "RAY_worker_register_timeout_seconds": "300",
    # At its default of 15, actors starve beside any other work on their cores.
    "RAY_worker_niceness": "0",
}


class Reader(Protocol):
    """Turns a conversation into the token ids that the model gets; a `ChatRenderer` does."""

    def prompt_ids(self, turns: tuple[Turn, ...], prefill: str = "") -> tuple[int, ...]: ...


def open_ray(spec: EngineSettings, name: str, opener: Opener, announce: Announce) -> RayEngine:
    """Actors that each open `spec.inner` by `opener`; returns once the first can be asked.

    This process reads the tokenizer of the folder or hub name `name`, and no weights. Raises InputError where Ray is
    not installed, the machine is too small or an actor cannot open the model, EngineDown where none comes up in time.
    """
    check_installed()
    from transformers import AutoTokenizer

    renderer = ChatRenderer(cast(Any, AutoTokenizer.from_pretrained(find_template(name, spec.revision))), spec.model)
    join_cluster(spec.ray, announce)
    return RayEngine(spec, opener, renderer, announce)


def check_installed() -> None:
    """Raise InputError, with the command to run, unless a supported Ray can be imported."""
    if importlib.util.find_spec("ray") is None:
        raise InputError("Ray is not installed", "pip install 'cai[ray]', or make ray in a checkout")
    os.environ.update({name: os.environ.get(name, value) for name, value in OWN_SETTINGS.items()})
    version = str(_ray().__version__)
    found = tuple(int(part) for part in version.split(".")[:2])
    if not SUPPORTED[0] <= found < SUPPORTED[1]:
        low, high = (".".join(map(str, version)) for version in SUPPORTED)
        raise InputError(f"Ray {version} is not supported", f"install a version from {low} to below {high}")


def join_cluster(settings: RaySettings, announce: Announce) -> None:
    """Connect this process to a cluster, once; it stays connected until it ends.

    Without an address: the cluster that runs on this machine or that RAY_ADDRESS names, else a local one, which cannot
    grow, so that more actors than it has room for are refused.
    """
    ray = _ray()
    if ray.is_initialized():
        return
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if settings.address != "local":
        _check_address(settings.address or os.environ.get("RAY_ADDRESS", ""))
        try:
            ray.init(address=settings.address or "auto", **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            if settings.address or "RAY_ADDRESS" in os.environ:
                named = settings.address or os.environ["RAY_ADDRESS"]
                what = f"there is no Ray cluster at {named}: {str(error).splitlines()[0]}"
                raise InputError(what, "start it, or write local", Where("engine.ray.address")) from error
        else:
            announce(f"joined the Ray cluster at {ray.get_runtime_context().gcs_address}")
            return
    room = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if settings.actors * settings.cpus > room:
        what = f"{settings.actors} actors of {settings.cpus:g} CPUs do not fit on this machine, which has {room}"
        raise InputError(what, "lower it, or join a larger cluster by engine.ray.address", Where("engine.ray.actors"))
    try:
        ray.init(address="local", num_cpus=room, include_dashboard=False, **quiet)
    except Exception as error:
        # Ray raises bare exceptions here, with its reason in the message.
        raise EngineDown(f"Ray did not start on this machine: {str(error).splitlines()[0]}") from error


def _check_address(address: str) -> None:
    """Raise InputError where nothing listens at HOST:PORT: Ray itself takes over a minute to say so."""
    host, _, port = address.rpartition(":")
    if not host or "/" in address or not port.isdigit():
        return  # `auto`, or a kind of address that only Ray understands
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        what = f"there is no Ray cluster at {address}: {error}"
        raise InputError(what, "start it, or write local", Where("engine.ray.address")) from error


class RayEngine:
    """Asks a pool of actors. The result of a call is that of one actor alone: which one, and how many, do not show."""

    def __init__(self, spec: EngineSettings, opener: Opener, renderer: Reader, announce: Announce) -> None:
        self.model, self.renderer = spec.shown, renderer
        self._announce, self._updates = announce, dict[tuple[str, ...], Any]()
        self._first: Facts | None = None
        self._told_inexact = False
        make = _maker(spec, opener)
        self._pool = Pool(
            start=lambda: _Remote(make(), self._check, lambda: self._updates.values(), direct=spec.ray.direct),
            size=spec.ray.actors,
            in_flight=spec.inner.in_flight,
            patience=spec.ray.wait,
            tell=announce,
        )
        try:
            facts = _first_up(self._pool.workers, spec.ray.wait)
            self._check(facts)
        except BaseException:
            self._pool.stop("it never started")
            raise
        self.fingerprint, self.context_length = facts.fingerprint, facts.context_length

    def count_tokens(self, turns: tuple[Turn, ...], prefill: str = "") -> int:
        """Tokens of the rendered conversation with the generation prompt and `prefill`, counted in this process."""
        return len(self.encode(turns, prefill))

    def encode(self, turns: tuple[Turn, ...], prefill: str = "") -> tuple[int, ...]:
        """The token ids that `generate` feeds the model."""
        return self.renderer.prompt_ids(turns, prefill)

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling, *, prefill: str = "") -> Completion:
        """Draw one reply on the actor that holds the conversation's start, on another one if that dies."""
        return await self._pool.run(turns, lambda actor: actor.call("generate", turns, sampling, prefill))

    async def option_logprobs(
        self, turns: tuple[Turn, ...], options: tuple[str, ...], *, prefill: str = ""
    ) -> OptionScores:
        """Score options, likewise."""
        return await self._pool.run(turns, lambda actor: actor.call("option_logprobs", turns, options, prefill))

    async def update_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Replace weights by name on every actor, and on those that take a dead one's place later."""
        taken = {name: weight.detach().cpu() for name, weight in weights}
        update = _ray().put(taken)
        # A later update of the same names makes an earlier one needless; other names add to it.
        self._updates.pop(names := tuple(sorted(taken)), None)
        self._updates[names] = update
        await self._pool.everywhere(lambda actor: actor.ask("update_weights", update))
        self.fingerprint = content_id("updated", self.fingerprint)

    async def close(self) -> None:
        """End the actors; whoever waits for one gets EngineDown. The cluster stays as it was."""
        self._pool.stop("the engine was closed")

    def _check(self, facts: Facts) -> None:
        """Raise InputError, naming the machine, unless an actor reads and computes as the first one and we do."""
        if facts.reading != self.renderer.prompt_ids(PROBE):
            what = (
                f"the engine on {facts.node} has another tokenizer or chat template for {self.model} than this machine"
            )
            raise InputError(what, "give every machine the same files, or a hub name with engine.revision")
        if not facts.exact and not self._told_inexact:
            self._told_inexact = True
            self._announce(f"warning: results on {facts.node} depend on the batch in their last bits")
        first = self._first = self._first or facts
        for what in ("versions", "context_length", "fingerprint"):
            one, other = getattr(first, what), getattr(facts, what)
            if one != other and not (what == "fingerprint" and self._updates):
                said = f"{what.replace('_', ' ')} {_difference(one, other)} on {facts.node}"
                remedy = "give every machine the same files and versions"
                raise InputError(f"engines of one pool differ: {said}; {first.node} was asked first", remedy)


class _Remote:
    """One actor, as the pool sees it."""

    def __init__(
        self, actor: Any, check: Callable[[Facts], None], updates: Callable[[], Iterable[Any]], *, direct: bool
    ) -> None:
        self.actor, self._check, self._updates, self._direct = actor, check, updates, direct
        self._held = actor.hold.remote()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connecting: asyncio.Task[tuple[Line, asyncio.Task[str]]] | None = None

    async def ready(self) -> None:
        """Wait until its engine is open, is what the others are, and has the weights of the moment."""
        self._check(await self.ask("facts"))
        for update in self._updates():
            await self.ask("update_weights", update)

    async def ask(self, method: str, *given: Any) -> Any:
        """Call the actor by Ray; its faults are raised here. Raises WorkerLost when it dies before the end."""
        ray = _ray()
        reference = getattr(self.actor, method).remote(*given)
        try:
            answer = await reference
        except asyncio.CancelledError:
            ray.cancel(reference)
            raise
        except (ray.exceptions.RayTaskError, ray.exceptions.TaskCancelledError):
            raise
        except ray.exceptions.RayError as error:
            raise WorkerLost(_reason(error)) from error
        return _told(answer)

    async def call(self, method: str, *given: Any) -> Any:
        """Like `ask`, over a connection of our own where there may be one."""
        if not self._direct:
            return await self.ask(method, *given)
        loop = asyncio.get_running_loop()
        if self._connecting is None or self._loop is not loop:
            self._loop, self._connecting = loop, loop.create_task(self._connect())
        # Whoever asked first may give up; the others still want the connection.
        line, dying = await asyncio.shield(self._connecting)
        try:
            return _told(await line.ask(method, *given))
        except LineBroken as broken:
            reason = str(broken)
            with suppress(TimeoutError):  # Ray may tell of a death a moment after the connection broke
                reason = await asyncio.wait_for(asyncio.shield(dying), LAST_WORDS)
            raise WorkerLost(reason) from broken

    async def _connect(self) -> tuple[Line, asyncio.Task[str]]:
        """A connection, and what tells how the actor ended once it has."""
        address = await self.ask("door")
        try:
            line = await Line.to(address)
        except OSError as error:
            await self.ask("facts")  # a dead actor is no closed port
            what = f"an engine at {address.host}:{address.port} cannot be reached: {str(error) or 'no answer'}"
            remedy = "open the ports between the machines, or send requests through Ray: engine.ray.direct=false"
            raise InputError(what, remedy) from error
        return line, asyncio.create_task(self._death(line))

    async def _death(self, line: Line) -> str:
        """Wait for the actor's end, of which a machine that is gone does not tell the connection; says what it was."""
        try:
            await self._held
        except _ray().exceptions.RayError as error:
            reason = _reason(error)
            line.end(reason)
            return reason
        raise AssertionError("an actor's `hold` came to an end")

    def stop(self) -> None:
        """End the process; what it was doing is lost."""
        _ray().kill(self.actor)


def _told(answer: Any) -> Any:
    """An actor's answer. Raises the fault that it is."""
    if isinstance(answer, Fault):
        raise answer.error
    return answer


def _ray() -> Any:
    """The library; imported when it is needed, typed as anything so that types check without it."""
    return importlib.import_module("ray")


def _maker(spec: EngineSettings, opener: Opener) -> Callable[[], Any]:
    """Starts one actor, which Ray itself neither restarts nor asks twice: the pool does."""
    ray, own = _ray(), spec.ray
    gpus = own.gpus
    if gpus is None:
        gpus = spec.vllm.processes if ray.cluster_resources().get("GPU") else 0
    remote = ray.remote(EngineActor).options(
        num_cpus=own.cpus,
        num_gpus=gpus,
        resources=own.resources or None,
        max_restarts=0,
        max_task_retries=0,
        max_concurrency=spec.inner.in_flight + SPARE_CALLS,
    )
    threads = int(os.environ.get("OMP_NUM_THREADS") or max(1, int(own.cpus)))
    return lambda: remote.remote(opener, spec.inner, threads)


def _first_up(workers: tuple[_Remote, ...], patience: float) -> Facts:
    """What the first actor to come up says. Raises what it could not open the model for, or EngineDown."""
    ray = _ray()
    found, _ = ray.wait([worker.actor.facts.remote() for worker in workers], num_returns=1, timeout=patience)
    if not found:
        raise EngineDown(
            f"no actor started in {patience:g} s: the cluster has {_short(ray.available_resources())} to spare; "
            "lower engine.ray.cpus or engine.ray.gpus, or add machines"
        )
    try:
        facts = ray.get(found[0])
    except ray.exceptions.RayActorError as error:
        raise EngineDown(f"an actor died while it opened the model: {_reason(error)}") from error
    if isinstance(facts, Fault):
        raise facts.error
    return cast(Facts, facts)


def _short(resources: dict[str, float]) -> str:
    kept = {name: amount for name, amount in resources.items() if name in ("CPU", "GPU")}
    return ", ".join(f"{amount:g} {name}" for name, amount in sorted(kept.items())) or "nothing"


def _reason(error: Exception) -> str:
    """The last line of what Ray says that is a sentence, without its guesses at causes."""
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    said = [line for line in lines if line.endswith(".") or "died" in line or "dead" in line]
    return (said or lines or [type(error).__name__])[-1].partition(" Some common causes")[0][:300]


def _difference(one: Any, other: Any) -> str:
    """What differs between two values, pairs of names and versions one by one."""
    if not isinstance(one, tuple):
        return f"{one}, {other}"
    pairs = sorted(set(one) ^ set(other))
    return ", ".join(" ".join(map(str, pair)) for pair in pairs)
