"""One run of a member as its operating system sees it: a clock that drifts, pauses, the end of it.

Everything that happens to a member passes through its ``Process``: after the end nothing does, in
a pause it waits. ``DriftingClock`` and ``SimLanes`` are what ``Raft`` takes for time and threads.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from tests.sim.raft.disk import Cut, SimDisk
from tests.sim.virtual_loop import VirtualTimeLoop

Done = Callable[[Any, BaseException | None], None]


class Process:
    """Alive, paused or gone; ``after`` looks at the member whenever it did something."""

    def __init__(self, after: Callable[[], None]) -> None:
        self.is_alive = True
        self.is_paused = False
        self.paused_s = 0.0
        self._paused_at = 0.0
        self._waiting: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self._after = after

    def run(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Let it happen: now, after the pause, or never."""
        if self.is_paused:
            self._waiting.append((work, arguments))
        elif self.is_alive:
            work(*arguments)
            if self.is_alive:
                self._after()

    def end(self) -> None:
        """Nothing happens any more."""
        self.is_alive = self.is_paused = False
        self._waiting.clear()

    def pause(self) -> None:
        """Stand still, as after SIGSTOP; the clock goes on."""
        if not self.is_paused:
            self.is_paused = True
            self._paused_at = asyncio.get_running_loop().time()

    def resume(self) -> None:
        """Go on; what came in the meantime happens now, in order."""
        if not self.is_paused:
            return
        loop = asyncio.get_running_loop()
        self.is_paused = False
        self.paused_s += loop.time() - self._paused_at
        waiting, self._waiting = self._waiting, []
        for work, arguments in waiting:
            loop.call_soon(self.run, work, *arguments)


class DriftingClock:
    """A monotonic clock that runs at its own rate."""

    def __init__(self, process: Process, rate: float) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        self._process, self._run = process, process.run
        self._rate = rate
        self._loop = loop
        self._origin = loop.virtual_s

    def time(self) -> float:
        """Return the member's seconds; asked more often than anything else."""
        return 1000.0 + (self._loop.virtual_s - self._origin) * self._rate

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any
    ) -> asyncio.TimerHandle:
        """Call back when this clock has moved so far."""
        return self._loop.call_later(delay / self._rate, self._run, callback, *args)

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> asyncio.Handle:
        """Call back next."""
        return self._loop.call_soon(self._run, callback, *args)


class DiskSpeed:
    """How long a job on a lane takes; changed by the nemesis."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.mean_s = 0.001
        self.is_stuck = False

    def draw(self) -> float:
        """Draw one job's duration."""
        return self.mean_s * self._rng.uniform(0.2, 3.0)


class SimLanes:
    """Lanes whose jobs take virtual time; a job's end and the news of it are two moments."""

    def __init__(
        self, process: Process, disk: SimDisk, speed: DiskSpeed, cut: Callable[[], None]
    ) -> None:
        self._process, self._disk, self._speed, self._cut = process, disk, speed, cut
        self._queues: dict[str, deque[tuple[Callable[[], Any], Done]]] = {}
        self._closed = False

    def submit(self, lane: str, job: Callable[[], Any], done: Done) -> None:
        """Queue a job; the lane takes one at a time."""
        queue = self._queues.setdefault(lane, deque())
        queue.append((job, done))
        if len(queue) == 1:
            self._begin(queue)

    def _begin(self, queue: deque[tuple[Callable[[], Any], Done]]) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(self._speed.draw(), self._process.run, self._work, queue)

    def _work(self, queue: deque[tuple[Callable[[], Any], Done]]) -> None:
        if self._closed:
            return
        if self._speed.is_stuck:
            asyncio.get_running_loop().call_later(0.1, self._process.run, self._work, queue)
            return
        job, done = queue[0]
        result: Any = None
        error: Exception | None = None
        try:
            result = job()
        except Cut:
            self._cut()
            return
        except Exception as caught:  # noqa: BLE001 - the job's error is its caller's
            error = caught
        later = self._speed.draw() * 0.2
        asyncio.get_running_loop().call_later(
            later, self._process.run, self._tell, done, result, error
        )
        queue.popleft()
        if queue:
            self._begin(queue)

    def _tell(self, done: Callable[..., None], result: Any, error: Exception | None) -> None:
        if not self._closed:
            done(result, error)

    async def close(self, last: Callable[[], None]) -> None:
        """Do nothing more but a last job."""
        self._closed = True
        last()
