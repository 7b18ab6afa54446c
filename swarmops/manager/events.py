"""Docker's events, made from the store's changes, and the last of them for who asks later.

Every manager keeps its own ``EventHistory`` from its start on. Readers share one queue: one that is
slower than what is kept is cut off, since events it has missed can't be had again. What only
managers may see makes no event.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from swarmops.manager.pace import Pace
from swarmops.model import defaults
from swarmops.model.base import given
from swarmops.model.events import Actor, EventMessage
from swarmops.model.network import Network
from swarmops.model.node import ManagerStatus, Node
from swarmops.model.object import Object, public
from swarmops.model.secret import Config, Secret
from swarmops.model.service import Service, UpdateStatus
from swarmops.store import Event, Store, Watch, sliced

KEPT = 2048
"""So many past events are kept, and so far may a reader be behind."""
BURST = 16_384
"""So many are kept where they come within ``BURST_FOR``: thousands of nodes may change at once."""
BURST_FOR = timedelta(seconds=30)
TYPES = {
    "services": "service",
    "nodes": "node",
    "secrets": "secret",
    "configs": "config",
    "networks": "network",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Changes = dict[str, str]


class EventHistory:
    """The last events, and whoever reads on."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._kept: deque[tuple[datetime, EventMessage]] = deque()
        """The last events, each with when it was made here."""
        self.count = 0
        """How many events there ever were."""
        self._news = asyncio.Event()
        self._watch: Watch | None = None
        self._collecting = False
        self._pace = Pace()

    async def run(self) -> None:
        """Collect for ever."""
        try:
            with self._store.watch(*TYPES) as self._watch:
                while True:
                    await self._watch.wait()
                    events, lost = self._watch.take()
                    if lost:
                        self._cut_off()
                    await self._collect(events)
        finally:
            self._watch, self._collecting = None, False
            self._tell()

    async def _collect(self, events: list[Event]) -> None:
        self._collecting = True
        async for event in sliced(events):
            now = self._now()
            if (message := message_of(event, now)) is not None:
                self._kept.append((now, message))
                self.count += 1
                self._forget(now)
        self._collecting = False
        self._tell()

    def _forget(self, now: datetime) -> None:
        """Drop what is more than is kept, in a burst only what is more than that."""
        kept = self._kept
        while len(kept) > BURST or (len(kept) > KEPT and now - kept[0][0] > BURST_FOR):
            kept.popleft()

    def _cut_off(self) -> None:
        """Events were lost before they came here: who reads is behind, whatever it has read."""
        self._kept.clear()
        self.count += 1

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def caught_up(self) -> None:
        """Wait until all that the store has applied by now is collected."""
        for _ in range(2):  # what is being collected, and what waits behind it
            if self._watch is None or not (self._collecting or self._watch.waiting):
                return
            await self._news.wait()

    async def read(self, since_ns: int, *, follow: bool) -> AsyncGenerator[EventMessage, None]:
        """Iterate over the kept events since a time (0: none of them), then over new ones.

        Ends where the reader has fallen behind what is kept.
        """
        place = self.count
        if since_ns:
            for _, message in list(self._kept):
                if message.time_ns >= since_ns:
                    yield message
        while follow:
            first = self.count - len(self._kept)
            if place < first:
                return
            if place == self.count:
                await self._news.wait()
                continue
            message = self._kept[place - first][1]
            place += 1
            await self._pace.turn()  # hundreds of readers hear of it at once
            yield message


def message_of(event: Event, now: datetime) -> EventMessage | None:
    """Return the event's message, None for a change that nobody but managers can see."""
    obj = event.new or event.old
    if obj is None or _same(event.old, event.new):
        return None
    at = {"create": obj.created_at, "update": obj.updated_at, "remove": now}[event.kind]
    time_ns = (at - _EPOCH) // timedelta(microseconds=1) * 1000
    return EventMessage(
        type=TYPES[event.table],
        action=event.kind,
        actor=Actor(id=obj.id, attributes=attributes(event.old, obj)),
        time=time_ns // 1_000_000_000,
        time_ns=time_ns,
    )


def _same(old: Object | None, new: Object | None) -> bool:
    if old is None or new is None:
        return False
    as_old = replace(new, version=old.version, updated_at=old.updated_at)
    return bool(public(as_old) == public(old))


def attributes(old: Object | None, obj: Object) -> Changes:
    """Return the name, and what of Docker's list differs from the old object, before and after."""
    match obj:
        case Service():
            return {"name": given(obj.spec.name, "")} | (
                _service_changes(old, obj) if isinstance(old, Service) and old is not obj else {}
            )
        case Node():
            name = given(obj.spec.name, "") or given(obj.description.hostname, "")
            return {"name": name} | (
                _node_changes(old, obj) if isinstance(old, Node) and old is not obj else {}
            )
        case Secret() | Config() | Network():
            return {"name": given(obj.spec.name, "")}
        case _:
            return {}


def _service_changes(old: Service, new: Service) -> Changes:
    changes = _changed("image", *(defaults.image(defaults.task_spec(s.spec)) for s in (old, new)))
    modes = {defaults.mode_name(old.spec), defaults.mode_name(new.spec)}
    if modes == {"replicated"}:
        changes |= _changed("replicas", *(str(defaults.replicas(s.spec)) for s in (old, new)))
    # An update that begins anew drops the last one's state: Docker doesn't tell of that.
    if state := _update_state(new):
        changes |= _changed("updatestate", _update_state(old), state)
    return changes


def _node_changes(old: Node, new: Node) -> Changes:
    changes = (
        _changed("availability", old.spec.availability.value, new.spec.availability.value)
        | _changed("role", old.spec.role.value, new.spec.role.value)
        | _changed("state", old.status.state.value, new.status.state.value)
    )
    before, after = given(old.manager_status, None), given(new.manager_status, None)
    if before is None or after is None:
        return changes
    return (
        changes
        | _changed("reachability", before.reachability.value, after.reachability.value)
        | _changed("leader", _leads(before), _leads(after))
    )


def _changed(name: str, old: str, new: str) -> Changes:
    """Return both values where they differ; one that is empty is left out."""
    if old == new:
        return {}
    return {f"{name}.{age}": value for age, value in (("new", new), ("old", old)) if value}


def _update_state(service: Service) -> str:
    return given(given(service.update_status, UpdateStatus()).state, "")


def _leads(status: ManagerStatus) -> str:
    return "true" if given(status.leader, False) else "false"
