"""The output of a service's or a task's tasks, merged from all nodes, as any manager serves it.

The way of a line: the agent's one session brings it to the manager that holds the session; if that
is another manager than the one that was asked, an HTTP stream between the two brings it on. (The
other way, agents dialling the manager that was asked, needs a second connection from every node,
and the first way to tell them all the same.) Nothing is kept: each hop holds a bounded amount and
waits for the next, down to the file on the node.

A node that can't be asked is named in the stream's end, as Docker does. A reader that follows gets
new tasks as they come, and a broken stream again from where it broke.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable

import structlog
from msgspec.structs import replace

from swarmops.errors import SwarmopsError
from swarmops.manager.log_intake import DISCONNECTED, LogIntake
from swarmops.model.base import given
from swarmops.model.node import ManagerStatus, NodeInternal, NodeState
from swarmops.model.session import LogFrame, LogLines, LogQuery, LogsAsked, LogsEnd
from swarmops.model.task import Task
from swarmops.store import Store

LOOK_S = 0.5
"""How often a reader that follows is given new tasks, and broken streams are tried again."""
_MERGED_FRAMES = 4

Fetch = Callable[[str, LogsAsked], AsyncGenerator[LogFrame, None]]
"""Ask the manager at an address; raises OSError or SwarmopsError when it breaks."""
Selected = Callable[[], Iterable[Task]]

log = structlog.get_logger(__name__)


class LogCollector:
    """Reads logs for one manager's clients, and for other managers."""

    def __init__(self, store: Store, node_id: str, held: Callable[[str], LogIntake | None]) -> None:
        self._store = store
        self._node_id = node_id
        self._held = held
        self.fetch: Fetch | None = None
        """How to ask another manager; the runtime sets it."""

    async def of_held_node(self, asked: LogsAsked) -> AsyncGenerator[LogFrame, None]:
        """Read from a node whose session is here; the last frame is ``LogsEnd``."""
        intake = self._held(asked.node_id)
        if intake is None:
            yield LogsEnd(0, [DISCONNECTED])
            return
        async with contextlib.aclosing(intake.read(asked.task_ids, asked.query)) as frames:
            async for frame in frames:
                yield frame

    async def read(self, selected: Selected, query: LogQuery) -> AsyncGenerator[LogFrame, None]:
        """Iterate over the output of the selected tasks; the last frame is ``LogsEnd``.

        With ``follow`` it goes on until no task is selected any more.
        """
        reading = _Reading(self, selected, query)
        try:
            async for frame in reading.frames():
                yield frame
        finally:
            await reading.close()

    def of_node(self, asked: LogsAsked) -> AsyncGenerator[LogFrame, None] | None:
        """Return the way to a node's output, None if there is none now."""
        node = self._store.nodes.get(asked.node_id)
        if node is None or node.status.state is not NodeState.READY:
            return None
        holder_id = given(node.internal, NodeInternal()).session_holder
        if holder_id == self._node_id:
            return self.of_held_node(asked)
        holder = self._store.nodes.get(holder_id)
        addr = given(given(holder.manager_status, ManagerStatus()).addr, "") if holder else ""
        return self.fetch(addr, asked) if addr and self.fetch else None


class _Reading:
    """One client's reading: a pump for each node, later for each new task, into one queue."""

    def __init__(self, collector: LogCollector, selected: Selected, query: LogQuery) -> None:
        self._collector = collector
        self._selected = selected
        self._query = query
        self._queue: asyncio.Queue[LogFrame] = asyncio.Queue(_MERGED_FRAMES)
        self._pumps: set[asyncio.Task[None]] = set()
        self._open = 0
        self._first = {task.id for task in selected()}
        """The tasks that were there when the client asked."""
        self._begun: set[str] = set()
        self._seen_ns: dict[str, int] = {}
        self._problems: dict[str, None] = {}
        self._given_up = False

    async def frames(self) -> AsyncGenerator[LogFrame, None]:
        """Iterate over what all pumps bring."""
        self._begin_all()
        clock = asyncio.get_running_loop()
        look_s = clock.time() + LOOK_S
        while not self._given_up and (self._open or not self._queue.empty() or self._goes_on()):
            if self._query.follow and clock.time() >= look_s:
                look_s = clock.time() + LOOK_S
                self._begin_new()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    frame = await self._queue.get()
                if isinstance(frame, LogLines):
                    yield frame
        yield LogsEnd(0, list(self._problems))

    async def close(self) -> None:
        """End every pump."""
        for pump in self._pumps:
            pump.cancel()
        if self._pumps:
            await asyncio.wait(self._pumps)

    def _goes_on(self) -> bool:
        return self._query.follow and any(True for _ in self._selected())

    def _begin_all(self) -> None:
        """One stream for each node."""
        by_node: defaultdict[str, list[str]] = defaultdict(list)
        for task in self._selected():
            if node_id := given(task.node_id, ""):
                by_node[node_id].append(task.id)
            else:
                self._problem(f"task {task.id} has not been scheduled")
        for node_id, task_ids in by_node.items():
            self._begin(LogsAsked(node_id, task_ids, self._query))

    def _begin_new(self) -> None:
        """One stream for each task that has none: it is new, or its stream broke."""
        for task in self._selected():
            node_id = given(task.node_id, "")
            if not node_id or task.id in self._begun:
                continue
            query = self._query
            if task.id not in self._first:
                query = replace(query, tail=-1)  # all that it says comes after the question
            if task.id in self._seen_ns:
                query = replace(query, since_ns=self._seen_ns[task.id] + 1, tail=-1)
            self._begin(LogsAsked(node_id, [task.id], query))

    def _begin(self, asked: LogsAsked) -> None:
        way = self._collector.of_node(asked)
        if way is None:
            self._problem(f"node {asked.node_id} is not available")
            return
        self._begun.update(asked.task_ids)
        pump = asyncio.create_task(self._pump(way, asked), name=f"logs of node {asked.node_id}")
        self._open += 1
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)

    async def _pump(self, way: AsyncGenerator[LogFrame, None], asked: LogsAsked) -> None:
        try:
            async with contextlib.aclosing(way) as frames:
                async for frame in frames:
                    if isinstance(frame, LogLines):
                        await self._queue.put(frame)
                        self._seen_ns.update((r.task_id, r.time_ns) for r in frame.records)
                    else:
                        self._ended(asked, frame)
        except (OSError, SwarmopsError, TimeoutError):
            self._ended(asked, LogsEnd(0, [DISCONNECTED]))
        except Exception as error:  # noqa: BLE001 - whatever it is, the reader must hear of an end
            # A fault of ours: who follows is told too, for asking again would only repeat it.
            log.error(  # noqa: TRY400 - log.exception may print local variables: a task's output
                "logs cannot be read", node_id=asked.node_id, traceback=traceback.format_exc()
            )
            fault = f"node {asked.node_id} cannot be asked ({type(error).__name__})"
            self._problems[fault] = None
            self._given_up = self._query.follow
        finally:
            self._open -= 1
        await self._queue.put(LogsEnd(0, []))  # wakes the reader, who may wait for this

    def _ended(self, asked: LogsAsked, end: LogsEnd) -> None:
        """Note what was missed; a reader that follows tries again."""
        self._begun.difference_update(end.missing)
        for problem in end.problems:
            if problem == DISCONNECTED:
                self._begun.difference_update(asked.task_ids)
                self._problem(f"node {asked.node_id} disconnected unexpectedly")
            else:
                self._problem(problem)

    def _problem(self, text: str) -> None:
        if not self._query.follow:
            self._problems[text] = None
