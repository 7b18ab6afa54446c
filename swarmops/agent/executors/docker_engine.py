"""A container engine behind its API: the SDK's blocking calls on threads, news as events.

Used by the container executors. The SDK is imported with the first call, so a node without an
engine never pays for it. Each pull has a thread of its own: a slow registry holds up no other call,
and one that hangs holds up no other pull once nobody wants its image any more.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from swarmops.agent.executors.base import TaskError, TemporaryError
from swarmops.agent.executors.turns import Turns

if TYPE_CHECKING:
    from docker import APIClient

CALLS_MAX = 8
STARTS_MAX = max(2, min(CALLS_MAX, os.cpu_count() or 1))
START_S = 2.0
"""After that time a start isn't what keeps a processor busy."""
PULLS_MAX = 2
HANGING_MAX = 8
"""Pulls that nobody wants any more, and that still wait for the engine's next word."""
RETRY_S = 1.0
FINISH_S = 10.0
_CONFLICT = 409
TASK_LABEL = "com.docker.swarm.task.id"
NODE_LABEL = "com.docker.swarm.node.id"
log = structlog.get_logger(__name__)
T = TypeVar("T")


class NotFoundError(TaskError):
    """The engine has no such container or image."""


class ConflictError(TaskError):
    """The container is not in the state that the call needs."""


class Engine:
    """One engine. ``call`` runs a function of the SDK's client; ``news`` says what to wait for."""

    def __init__(self, address: str, node_id: str) -> None:
        self._address = address
        self._node_id = node_id
        self._calls = ThreadPoolExecutor(CALLS_MAX, "engine")
        self._start_calls = ThreadPoolExecutor(CALLS_MAX, "start")
        self._starts = Turns(STARTS_MAX, START_S)
        self._pulls = asyncio.Semaphore(PULLS_MAX)
        self._pulling = asyncio.Semaphore(PULLS_MAX + HANGING_MAX)
        self._client: APIClient | None = None
        self._making = threading.Lock()
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._listener: threading.Thread | None = None
        self._stream: Any = None
        self._closed = threading.Event()

    async def call(self, function: Callable[[APIClient], T]) -> T:
        """Run the function on one of the threads. Raises ``TaskError`` or ``TemporaryError``.

        If the caller is cancelled, that takes effect once the function has returned, but after ten
        seconds at most: an engine that hangs must not hold up the daemon's end.
        """
        return await _finished(self._calls, lambda: self._guarded(function))

    async def start(self, container: str) -> None:
        """Start the container, when it has its turn; other calls don't wait. Raises as ``call``."""
        async with self._starts.taken():
            await _finished(
                self._start_calls, lambda: self._guarded(lambda client: client.start(container))
            )

    async def pull(self, image: str, registry_auth: str = "") -> None:
        """Fetch the image from its registry. Raises ``TaskError`` with the registry's reason.

        ``registry_auth`` is what clients send as ``X-Registry-Auth``: base64 of a JSON object.
        """
        credentials = _credentials(registry_auth)
        cancelled = threading.Event()

        def pulling(client: APIClient) -> None:
            name = image_name(image)
            for line in client.pull(name, stream=True, decode=True, auth_config=credentials):
                if cancelled.is_set() or self._closed.is_set():
                    raise TemporaryError("the pull was given up")
                if "error" in line:
                    raise TaskError(line["error"])

        async with self._pulls:
            await self._pulling.acquire()
            try:
                await _alone(lambda: self._guarded(pulling), "pull", self._pulling.release)
            except asyncio.CancelledError:
                cancelled.set()
                raise

    @contextlib.contextmanager
    def news(self, task_id: str) -> Iterator[asyncio.Event]:
        """Give an event that is set when the task's container may have ended or changed health.

        It is also set whenever events may have been missed: who waits looks again then.
        """
        event = self.watch(task_id)
        try:
            yield event
        finally:
            self.unwatch(task_id, event)

    def watch(self, task_id: str) -> asyncio.Event:
        """Return an event as ``news`` gives it, until ``unwatch``."""
        self._listen()
        event = asyncio.Event()
        self._waiting[task_id].add(event)
        return event

    def unwatch(self, task_id: str, event: asyncio.Event) -> None:
        """Set the event no more."""
        self._waiting[task_id].discard(event)
        if not self._waiting[task_id]:
            del self._waiting[task_id]

    async def close(self) -> None:
        """Let go of the connections; containers run on."""
        self._closed.set()
        for pool in (self._calls, self._start_calls):
            pool.shutdown(wait=False, cancel_futures=True)
        if self._stream is not None:
            with contextlib.suppress(OSError, AttributeError):
                self._stream.close()
        if self._listener is not None:
            await asyncio.to_thread(self._listener.join, 2)
        if self._client is not None:
            self._client.close()

    def _guarded(self, function: Callable[[APIClient], T]) -> T:
        import requests.exceptions as http  # noqa: PLC0415 - see the module's docstring
        from docker import errors  # noqa: PLC0415 - the same

        try:
            return function(self._connected())
        except errors.NotFound as error:
            raise NotFoundError(error.explanation or str(error)) from error
        except errors.APIError as error:
            text = error.explanation or str(error)
            kind = ConflictError if error.status_code == _CONFLICT else TaskError
            raise kind(text) from error
        except (http.ConnectionError, http.Timeout, errors.DockerException) as error:
            reason = str(error)
        # Not chained: the SDK's error would keep its unclosed socket alive.
        raise TemporaryError(f"the container engine does not answer: {reason}")

    def _connected(self) -> APIClient:
        with self._making:
            if self._client is None:
                self._client = self._new_client()
            return self._client

    def _new_client(self) -> APIClient:
        from docker import APIClient  # noqa: PLC0415 - see the module's docstring

        return APIClient(
            base_url=self._address, version="auto", num_pools=2 * CALLS_MAX + PULLS_MAX
        )

    def _listen(self) -> None:
        if self._listener is None:
            loop = asyncio.get_running_loop()
            self._listener = threading.Thread(
                target=self._hear, args=(loop,), name="engine-events", daemon=True
            )
            self._listener.start()

    def _hear(self, loop: asyncio.AbstractEventLoop) -> None:
        """Pass on news until closed; a broken stream is opened again."""
        label = f"{NODE_LABEL}={self._node_id}"
        news = ["die", "died", "health_status"]  # the second is what Podman asks for
        filters = {"type": "container", "event": news, "label": label}
        while not self._closed.is_set():
            try:
                self._guarded(lambda client: self._hear_once(client, filters, loop))
            except (TaskError, TemporaryError) as error:
                log.info("no events from the engine", reason=str(error))
            except Exception as error:  # noqa: BLE001 - closing tears the stream in any way it likes
                log.debug("the engine's events ended", reason=str(error))
            if not self._tell(loop, None):
                return
            self._closed.wait(RETRY_S)

    def _hear_once(
        self, client: APIClient, filters: dict[str, Any], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._stream = client.events(filters=filters, decode=True)
        self._tell(loop, None)
        # Podman says that it listens a moment before it does.
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(loop.call_later, RETRY_S, self.wake, None)
        for event in self._stream:
            self._tell(loop, event["Actor"]["Attributes"].get(TASK_LABEL, ""))

    def _tell(self, loop: asyncio.AbstractEventLoop, task_id: str | None) -> bool:
        try:
            loop.call_soon_threadsafe(self.wake, task_id)
        except RuntimeError:  # the loop is closed
            return False
        return True

    def wake(self, task_id: str | None) -> None:
        """Have who waits for the task's container look again; None: whoever waits for any."""
        woken = list(self._waiting) if task_id is None else [task_id]
        for each in woken:
            for event in self._waiting.get(each, ()):
                event.set()


async def _finished(pool: ThreadPoolExecutor, function: Callable[[], T]) -> T:
    """Run on the pool, and do not leave before the function has, cancelled or not.

    Else what is just being made would be there after its removal.
    """
    running = pool.submit(function)
    future = asyncio.wrap_future(running)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # it was seen
        # Asked of the thread's own future: the loop's one says yes whatever the thread does.
        if not running.cancel():
            await asyncio.wait([future], timeout=FINISH_S)
        raise


async def _alone(function: Callable[[], T], name: str, ended: Callable[[], None]) -> T:
    """Run on a thread of its own, which is left alone once the caller is cancelled.

    ``ended`` is called in the event loop when the thread has ended, at whatever time.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(settled: Callable[[], None]) -> None:
        ended()
        if not future.done():
            settled()

    def run() -> None:
        try:
            settled = partial(future.set_result, function())
        except Exception as error:  # noqa: BLE001 - the caller raises it
            settled = partial(future.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
            loop.call_soon_threadsafe(settle, settled)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future


def _credentials(registry_auth: str) -> dict[str, Any] | None:
    if not registry_auth:
        return None
    try:
        found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(registry_auth + "=="))
    except ValueError:  # not chained: the cause would show what was sent
        raise TaskError("the image's registry credentials make no sense: log in again") from None
    return found


def image_name(image: str) -> str:
    """Return the image's name with its tag: ``latest`` where it has neither tag nor digest."""
    tagged = "@" in image or ":" in image.rpartition("/")[2]
    return image if tagged else f"{image}:latest"
