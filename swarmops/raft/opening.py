"""Opens a member: what its directory holds, made first where it is to be new, and its state.

Called by ``raft`` once, before anything runs. Disk work and decoding are on the lanes.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable
from typing import Any, Literal

from swarmops.raft import storage
from swarmops.raft.disk import Disk, Lane, Lanes
from swarmops.raft.seam import Clock, Member, StateMachine, Timing
from swarmops.raft.sessions import Sessions
from swarmops.raft.snapshots import SnapshotReader
from swarmops.raft.transport import Transport

Mode = Literal["bootstrap", "open", "join"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
    """Who a member is, and all that it touches."""

    me: Member
    state_machine: StateMachine
    disk: Disk
    data_key: bytes
    transport: Transport
    rng: random.Random
    timing: Timing
    clock: Clock
    lanes: Lanes


async def open_member(
    environment: Environment, mode: Mode, peers: tuple[Member, ...]
) -> storage.Opened:
    """Return what the directory holds; raises StorageCorrupt, RaftError, OSError."""
    e = environment

    def prepare() -> storage.Opened:
        if mode != "open":
            alone = mode == "bootstrap"
            storage.create(e.disk, e.data_key, e.rng, e.me, e.timing, alone=alone, peers=peers)
        return storage.open_member(e.disk, e.data_key, e.rng, e.me.raft_id, e.timing)

    opened: storage.Opened = await _on_lane(e.lanes, "log", prepare)
    return opened


async def restore(environment: Environment, opened: storage.Opened) -> Sessions:
    """Bring the state machine to where the snapshot is; return the requests known by then."""
    sessions = Sessions()
    if opened.snapshot is None:
        return sessions
    reader = SnapshotReader(environment.disk, environment.data_key, opened.snapshot)
    load = getattr(environment.state_machine, "load", None)
    try:
        if load is not None:
            (await _on_lane(environment.lanes, "snapshot", lambda: load(reader.chunks())))()
        else:
            environment.state_machine.restore(reader.chunks())
    finally:
        reader.close()
    if opened.sessions is not None:
        sessions.load(opened.sessions)
    return sessions


async def _on_lane(lanes: Lanes, lane: Lane, job: Callable[[], Any]) -> Any:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def done(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    lanes.submit(lane, job, done)
    return await future
