"""Which processes of this machine belong to which task, found by one look for many who ask.

Used by the process executor when tasks end: a look reads all of ``/proc``, so those who ask while
one is under way share the next.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import NamedTuple

from swarmops.agent.executors.procfs import DEAD, Process, stat_of

_PROC = Path("/proc")
_TASK = re.compile(rb"(?:^|\0)SWARMOPS_TASK_ID=([^\0]*)")
ROUNDS_MAX = 50
ROUND_S = 0.02


class Found(NamedTuple):
    """A live process, its session, and the task that its environment names."""

    process: Process
    session: int
    task_id: str


class Group(NamedTuple):
    """What makes a process one of a task's.

    ``ended`` is when the leader ended, in clock ticks since boot, None if that isn't known. A
    session's number may be used anew after its end, so later processes are not the task's.
    """

    task_id: str
    leader: Process
    ended: int | None

    def has(self, found: Found, *, leader_alive: bool) -> bool:
        """Whether the process belongs to the task: by its session, or by its environment.

        The latter finds those that made a session of their own, as daemons do.
        """
        if found.task_id == self.task_id:
            return True
        if found.session != self.leader.pid:
            return False
        return leader_alive or (self.ended is not None and found.process.start <= self.ended)


class Census:
    """Looks at all processes, once for all who ask at the same time."""

    def __init__(self) -> None:
        self._next: asyncio.Task[list[Found]] | None = None
        self._present: asyncio.Task[list[Found]] | None = None

    async def take(self) -> list[Found]:
        """Return all live processes, seen after the call."""
        if self._next is None:
            self._next = asyncio.create_task(self._look(self._present))
        return await asyncio.shield(self._next)

    async def kill_all(self, group: Group) -> None:
        """Kill what belongs to a task until nothing of it is left, for a second at most."""
        for _ in range(ROUNDS_MAX):
            found = await self.take()
            alive = group.leader.alive
            members = [f.process for f in found if group.has(f, leader_alive=alive)]
            if not members and not alive:
                return
            for process in {*members, group.leader}:
                process.kill()
            await asyncio.sleep(ROUND_S)

    async def _look(self, previous: asyncio.Task[list[Found]] | None) -> list[Found]:
        if previous is not None:
            await asyncio.wait([previous])
        self._present, self._next = self._next, None
        return await asyncio.to_thread(look)


def look() -> list[Found]:
    """Return all live processes; takes some 50 µs for each."""
    found = []
    for entry in os.listdir(_PROC):  # noqa: PTH208 - a Path for each would cost more than the look
        if not entry.isdecimal() or (stat := stat_of(int(entry))) is None or stat[0] in DEAD:
            continue
        found.append(Found(Process(int(entry), int(stat[19])), int(stat[3]), _task_of(entry)))
    return found


def _task_of(pid: str) -> str:
    try:
        environment = (_PROC / pid / "environ").read_bytes()
    except OSError:  # another user's, or gone
        return ""
    named = _TASK.search(environment)
    return named[1].decode(errors="replace") if named else ""
