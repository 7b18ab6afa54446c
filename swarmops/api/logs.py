"""``/services/{id}/logs`` and ``/tasks/{id}/logs``, as the Docker CLI reads them.

Each line is a frame of its own: stream, length, then what was asked for before the line (time,
details). A service with a terminal sends bare lines. What could not be read is said in a last frame
of the third stream, which makes clients print it and fail. Lines come from ``NodeControl.insight``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from datetime import UTC, datetime
from urllib.parse import quote_plus

import msgspec
from aiohttp import web

from swarmops.api import query, resolve
from swarmops.api.control import NodeControl
from swarmops.api.gate import manager_store
from swarmops.api.path import version_numbers
from swarmops.api.route import Route, node_of
from swarmops.api.stream import write_all
from swarmops.api.timestamps import timestamp_ns
from swarmops.errors import ApiError
from swarmops.model import defaults
from swarmops.model.base import given
from swarmops.model.service import Driver, TaskSpec
from swarmops.model.session import LogFrame, LogLines, LogQuery, LogRecord
from swarmops.model.task import Task, TaskState
from swarmops.store import Store

MULTIPLEXED = "application/vnd.docker.multiplexed-stream"
RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED_SINCE = (1, 42)
NO_STREAM = "Bad parameters: you must choose at least one stream"
_SYSTEM_ERROR = 3
_NANOSECONDS = 1_000_000_000

Selected = Callable[[], Iterable[Task]]


class Wanted(msgspec.Struct, frozen=True):
    """What a client wants to read, and how it wants to see it."""

    lines: LogQuery
    timestamps: bool
    details: bool


async def service_logs(request: web.Request) -> web.StreamResponse:
    """``GET /services/{id}/logs``."""
    store = await manager_store(node_of(request))
    service = resolve.service(store, request.match_info["id"])
    follow = query.truthy(request, "follow")

    def selected() -> list[Task]:
        """Return what runs or ran, and for who follows also what may yet run: Docker's rule."""
        tasks = store.tasks.by_service(service.id)
        return [task for task in tasks if follow or _has_run(task)]

    return await _logs(request, store, defaults.task_spec(service.spec), selected)


async def task_logs(request: web.Request) -> web.StreamResponse:
    """``GET /tasks/{id}/logs``."""
    store = await manager_store(node_of(request))
    task = resolve.task(store, request.match_info["id"])

    def selected() -> list[Task]:
        present = store.tasks.get(task.id)
        return [present] if present is not None else []

    return await _logs(request, store, task.spec, selected)


def _has_run(task: Task) -> bool:
    return task.status.state.rank >= TaskState.RUNNING.rank


async def _logs(
    request: web.Request, store: Store, spec: TaskSpec, selected: Selected
) -> web.StreamResponse:
    wanted = wanted_of(request)
    node = node_of(request)
    insight = node.insight
    if insight is None:
        raise ApiError(503, "this node is no manager any more")
    tty = given(defaults.container_spec(spec).tty, False)
    response = web.StreamResponse()
    new = _version(request) >= MULTIPLEXED_SINCE
    response.headers["Content-Type"] = MULTIPLEXED if new and not tty else RAW
    context = _Context(store)
    frames = insight.logs.read(_while_manager(node, store, selected), wanted.lines)
    encode = _raw if tty else _framed
    return await write_all(request, response, _pieces(frames, wanted, context, encode))


def _while_manager(node: NodeControl, store: Store, selected: Selected) -> Selected:
    """Select nothing any more once this replica is given up."""
    return lambda: selected() if node.store is store else ()


def wanted_of(request: web.Request) -> Wanted:
    """Read the query. Raises ApiError as Docker's engine does."""
    stdout, stderr = query.truthy(request, "stdout"), query.truthy(request, "stderr")
    if not (stdout or stderr):
        raise ApiError(500, NO_STREAM)
    return Wanted(
        lines=LogQuery(
            stdout=stdout,
            stderr=stderr,
            follow=query.truthy(request, "follow"),
            tail=_tail(request.query.get("tail", "")),
            since_ns=timestamp_ns(request.query.get("since", ""), "since"),
            until_ns=timestamp_ns(request.query.get("until", ""), "until"),
        ),
        timestamps=query.truthy(request, "timestamps"),
        details=query.truthy(request, "details"),
    )


def _tail(text: str) -> int:
    if text in ("", "all"):
        return -1
    if text.startswith("-") and text[1:].isdecimal():
        raise ApiError(500, "negative tail values not supported")
    if not text.isascii() or not text.isdecimal():
        raise ApiError(500, 'tail value must be a positive integer or "all"')
    return min(int(text[:12]), 2**31)


def _version(request: web.Request) -> tuple[int, int]:
    """Return the API version that the client speaks; without one it is the newest."""
    return version_numbers(request.match_info.get("api_version", "9.0"))


async def _pieces(
    frames: AsyncGenerator[LogFrame, None],
    wanted: Wanted,
    context: _Context,
    encode: Callable[[int, bytes], bytes],
) -> AsyncGenerator[bytes, None]:
    try:
        async for frame in frames:
            if isinstance(frame, LogLines):
                yield b"".join(
                    encode(record.stream, shown(record, wanted, context))
                    for record in frame.records
                )
            elif frame.problems:
                yield encode(_SYSTEM_ERROR, incomplete(frame.problems))
    finally:
        await frames.aclose()


def shown(record: LogRecord, wanted: Wanted, context: _Context) -> bytes:
    """Return the line with what was asked for before it."""
    head = b""
    if wanted.timestamps:
        head += rfc3339(record.time_ns) + b" "
    if wanted.details:
        head += context.of(record.task_id) + b" "
    return head + record.data


def incomplete(problems: Iterable[str]) -> bytes:
    """Return Docker's sentence for a stream in which something is missing."""
    return (
        "Error grabbing logs: rpc error: code = Unknown desc = warning: incomplete log stream. "
        "some logs could not be retrieved for the following reasons: "
        f"{', '.join(sorted(problems))}\n"
    ).encode()


def rfc3339(time_ns: int) -> bytes:
    """Return the time with all nine digits of its second's fraction."""
    seconds, rest = divmod(time_ns, _NANOSECONDS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z".encode()


class _Context:
    """Where a line comes from, kept for tasks that are removed.

    Docker's three attributes, and the labels and variables that the log driver was told to add, be
    it the service's or the swarm's. Values that each node fills in for itself are left out.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, bytes] = {}

    def of(self, task_id: str) -> bytes:
        """Return the attributes of a task's lines."""
        known = self._known.get(task_id)
        if known is None:
            task = self._store.tasks.get(task_id)
            attributes = {
                "com.docker.swarm.node.id": given(task.node_id, "") if task else "",
                "com.docker.swarm.service.id": task.service_id if task else "",
                "com.docker.swarm.task.id": task_id,
            } | (_added(task.spec, self._options(task.spec)) if task else {})
            pairs = (f"{name}={quote_plus(value)}" for name, value in attributes.items())
            known = self._known[task_id] = ",".join(pairs).encode()
        return known

    def _options(self, spec: TaskSpec) -> Mapping[str, str]:
        cluster = self._store.cluster
        swarm = cluster.spec if cluster is not None else defaults.SWARM_SPEC
        driver = defaults.log_driver(spec, swarm) or Driver()
        return given(driver.options, {})


def _added(spec: TaskSpec, options: Mapping[str, str]) -> dict[str, str]:
    container = defaults.container_spec(spec)
    variables = dict(each.partition("=")[::2] for each in given(container.env, []))
    found = {"labels": given(container.labels, {}), "env": variables}
    return {
        name: values[name]
        for option, values in found.items()
        for name in options.get(option, "").split(",")
        if name in values and "{{" not in values[name]
    }


def _framed(stream: int, payload: bytes) -> bytes:
    return bytes((stream, 0, 0, 0)) + len(payload).to_bytes(4) + payload


def _raw(stream: int, payload: bytes) -> bytes:
    del stream
    return payload


ROUTES = [
    Route("GET", "/services/{id}/logs", service_logs, deadline_s=None),
    Route("GET", "/tasks/{id}/logs", task_logs, deadline_s=None),
]
