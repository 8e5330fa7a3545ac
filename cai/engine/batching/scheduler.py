"""One thread that keeps the batch full: admits waiting requests, computes a step, hands out what is finished."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import torch
from torch import Tensor

from cai.engine.batching.prefixes import CHUNK, Prefixes
from cai.engine.batching.requests import Drawing, Request, Scored, Scoring
from cai.engine.batching.runner import Runner, Work
from cai.engine.batching.sampling import draw_tokens
from cai.errors import EngineDown, RecordFault

T = TypeVar("T")
PROMPT_TOKENS = {"cpu": 256, "cuda": 2048}
"""Prompt tokens computed beside the replies in one step."""


class Scheduler:
    """Runs requests on `runner`. `submit` and `call` may be used from any thread; futures may be cancelled."""

    def __init__(self, runner: Runner, ends: frozenset[int], budget: int) -> None:
        self._runner, self._ends, self._budget = runner, ends, budget
        self._prompt_tokens = PROMPT_TOKENS[runner.device.type]
        self._prefixes = Prefixes()
        self._inbox: queue.SimpleQueue[Request | _Call | None] = queue.SimpleQueue()
        self._waiting: deque[Request | _Call] = deque()
        self._running: list[Request] = []
        self._failure: BaseException | None = None
        self._closed = False
        self._lock = threading.Lock()
        self.steps = 0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Queue a request; its future gets the result. Raises EngineDown after a failure or `close`."""
        self._put(request)

    def call(self, work: Callable[[], T]) -> Future[T]:
        """Run `work` on the engine's thread once all requests before it are finished and none after it has begun."""
        task = _Call(work, Future())
        self._put(task)
        return task.future

    def forget(self) -> None:
        """Forget the prefixes; only inside `call`."""
        self._prefixes.clear()

    def close(self) -> None:
        """Stop after the current step; what still waits is cancelled."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._inbox.put(None)
        self._thread.join()

    def _put(self, item: Request | _Call) -> None:
        with self._lock:
            if self._failure is not None or self._closed:
                raise EngineDown(f"the engine has stopped: {self._failure or 'it was closed'}")
            self._inbox.put(item)

    def _run(self) -> None:
        try:
            if self._runner.device.type == "cpu":
                # Sharp attention gives weights below 1e-38, on which a processor is ten times slower. This thread only.
                torch.set_flush_denormal(True)
            with torch.inference_mode():
                while self._receive():
                    self._admit()
                    if self._running:
                        self._step()
        except BaseException as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it was
            self._fail(error)
        else:
            for item in (*self._running, *self._waiting):
                item.future.cancel()

    def _receive(self) -> bool:
        """Take what has arrived, waiting for it while there is nothing to do; False once closed."""
        while True:
            idle = not self._running and not self._waiting
            try:
                item = self._inbox.get(block=idle)
            except queue.Empty:
                return True
            if item is None:
                return False
            self._waiting.append(item)

    def _admit(self) -> None:
        """Give slots to waiting requests in order of arrival; a call waits for an empty batch and holds back others."""
        for request in [request for request in self._running if request.future.cancelled()]:
            self._leave(request)
        while self._waiting:
            item = self._waiting[0]
            if item.future.cancelled():
                self._waiting.popleft()
            elif isinstance(item, _Call):
                if self._running:
                    return
                self._waiting.popleft()
                item.run()
            elif not self._enter(item):
                return
            else:
                self._waiting.popleft()

    def _enter(self, request: Request) -> bool:
        slots = self._runner.slots
        if not slots.can_ever_hold(request.room):
            request.future.set_exception(
                RecordFault(f"{request.room} tokens do not fit in engine.kv_cache_gib; raise it")
            )
            return True
        slot = slots.take(request.room)
        if slot is None and not self._running:
            slots.clear()
            slot = slots.take(request.room)
        if slot is None:
            return False
        self._prefixes.shrink(self._budget - slots.bytes)
        request.slot = slot
        self._running.append(request)
        return True

    def _leave(self, request: Request) -> None:
        self._running.remove(request)
        self._runner.slots.give(request.slot)

    def _step(self) -> None:
        planned = self._plan()
        planned.sort(key=lambda pair: len(pair[1].ids) > 1)
        logits = self._runner.step([work for _, work in planned])
        self.steps += 1
        row = 0
        drawn: list[tuple[Drawing, Tensor]] = []
        for request, work in planned:
            request.done = work.start + len(work.ids)
            self._remember(request)
            part, row = logits[row : row + work.logits], row + work.logits
            if isinstance(request, Drawing):
                if work.logits:
                    drawn.append((request, part))
            elif isinstance(request, Scoring):
                self._score(request, part, work)
        self._draw(drawn)
        self._prefixes.shrink(self._budget - self._runner.slots.bytes)

    def _plan(self) -> list[tuple[Request, Work]]:
        """What each running request computes in this step.

        A piece of a prompt that another request computes in this very step is waited for, then taken from it.
        """
        planned = list[tuple[Request, Work]]()
        left, begun = self._prompt_tokens, set[tuple[int, tuple[int, ...]]]()
        for request in self._running:
            pending = len(request.ids) - request.done
            if pending > 1 or request.done == 0:
                self._reuse(request)
                ahead = tuple(request.ids[request.done : request.done + CHUNK])
                if _whole_pieces(request, left) <= 0 or (request.node, ahead) in begun:
                    continue
                if len(ahead) == CHUNK and request.done % CHUNK == 0:
                    begun.add((request.node, ahead))
                self._reuse_part(request)
                pending = _whole_pieces(request, left)
                left -= pending
            end = request.done + pending
            logits = max(0, end - max(request.first_logits, request.done))
            planned.append((request, Work(request.slot, request.done, request.ids[request.done : end], logits)))
        return planned

    def _reuse(self, request: Request) -> None:
        """Copy remembered pieces into the slot, up to the first position whose logits are needed."""
        start, pieces = request.done, list[tuple[Tensor, Tensor]]()
        while request.done % CHUNK == 0 and request.done + CHUNK <= request.first_logits:
            tokens = request.ids[request.done : request.done + CHUNK]
            found = self._prefixes.find(request.node, tokens)
            if found is None:
                break
            request.path.append((request.node, tuple(tokens)))
            request.node, *piece = found
            pieces.append((piece[0], piece[1]))
            request.done += CHUNK
            self._prefixes.touch(request.path[-1:])
        if pieces:
            self._runner.slots.write(request.slot, start, *zip(*pieces, strict=True))
            request.cached += request.done - start

    def _reuse_part(self, request: Request) -> None:
        """Copy the start of a piece that goes on in another way than the request does."""
        part = request.ids[request.done : min(request.done + CHUNK, request.first_logits)]
        if request.done % CHUNK == 0 and (found := self._prefixes.nearest(request.node, part)) is not None:
            shared, keys, values = found
            self._runner.slots.write(request.slot, request.done, [keys[..., :shared]], [values[..., :shared, :]])
            request.done += shared
            request.cached += shared

    def _remember(self, request: Request) -> None:
        at = len(request.path) * CHUNK
        while at + CHUNK <= request.done:
            tokens = tuple(request.ids[at : at + CHUNK])
            keys, values = self._runner.slots.read(request.slot, at, at + CHUNK)
            node = self._prefixes.add(request.node, tokens, keys, values)
            request.path.append((request.node, tokens))
            request.node, at = node, at + CHUNK

    def _score(self, request: Scoring, logits: Tensor, work: Work) -> None:
        if work.logits:
            first = work.start + len(work.ids) - work.logits - request.first_logits
            logp = torch.log_softmax(logits.double(), -1)
            for offset in range(work.logits):
                request.scores.append(tuple(logp[offset, list(request.wanted[first + offset])].tolist()))
        if request.done == len(request.ids):
            self._finish(request, Scored(tuple(request.scores), request.cached))

    def _draw(self, drawn: list[tuple[Drawing, Tensor]]) -> None:
        if not drawn:
            return
        settings = [
            (request.sampling.temperature, request.sampling.top_p, request.random.random()) for request, _ in drawn
        ]
        logits = torch.cat([part for _, part in drawn])
        temperature, top_p, uniform = torch.tensor(settings, dtype=torch.float64, device=logits.device).T
        tokens, logprobs = draw_tokens(logits, temperature, top_p, uniform)
        for (request, _), token, logprob in zip(drawn, tokens.tolist(), logprobs.tolist(), strict=True):
            if logprob != logprob:
                self._finish(request, RecordFault("the model's logits are not finite"))
            elif (reply := request.take(token, logprob, self._ends)) is not None:
                self._finish(request, reply)

    def _finish(self, request: Request, result: object) -> None:
        self._prefixes.touch(request.path)
        self._leave(request)
        if request.future.set_running_or_notify_cancel():
            if isinstance(result, Exception):
                request.future.set_exception(result)
            else:
                request.future.set_result(result)

    def _fail(self, error: BaseException) -> None:
        """The engine cannot go on: everyone who waits is told why."""
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate" in str(error):
            reason = f"out of memory ({error}); lower engine.batch_size or engine.kv_cache_gib"
        with self._lock:
            self._failure = EngineDown(reason)
        items: list[Request | _Call] = [*self._running, *self._waiting]
        while not self._inbox.empty():
            item = self._inbox.get()
            items += [item] if item is not None else []
        for item in items:
            if not item.future.done() and item.future.set_running_or_notify_cancel():
                item.future.set_exception(EngineDown(f"the engine has stopped: {reason}"))


def _whole_pieces(request: Request, most: int) -> int:
    """Tokens to compute next: all that are missing, or as many whole pieces as `most` allows."""
    missing = len(request.ids) - request.done
    return missing if missing <= most else max(0, (request.done + most) // CHUNK * CHUNK - request.done)


class _Call:
    def __init__(self, work: Callable[[], object], future: Future) -> None:
        self.work, self.future = work, future

    def run(self) -> None:
        """Do it and hand over its result or its exception."""
        if self.future.set_running_or_notify_cancel():
            try:
                self.future.set_result(self.work())
            except Exception as error:  # noqa: BLE001 - it belongs to whoever asked for the work
                self.future.set_exception(error)
