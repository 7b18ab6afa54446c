"""What the engine said of a task's container, kept until there is news of it.

Used by the container executors. From its making to the wait for its end a container is looked at by
one verb after the other. Engines say what ends or changes health, so without such news the last
look still holds; a start is no such news, so who starts or stops a container forgets before. It is
kept only while a task gets going: who waits for news needs it no more, nor does one that has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from swarmops.agent.executors.base import TaskError
from swarmops.agent.executors.docker_engine import Engine
from swarmops.agent.work import Work

Inspect = Callable[[Work], Awaitable[dict[str, Any] | None]]
"""Asks the engine for a task's container; None without one."""


class GoneError(TaskError):
    """The task's container is not there."""


class Looks:
    """The last looks at the containers of one engine, as its API's inspection gives them.

    Of one that was only ``made`` there are ``Id``, ``State`` and an empty ``NetworkSettings``.
    """

    def __init__(self, engine: Engine, inspect: Inspect) -> None:
        self._engine = engine
        self._inspect = inspect
        self._kept: dict[str, tuple[dict[str, Any], asyncio.Event]] = {}

    async def look(self, work: Work) -> dict[str, Any]:
        """Ask the engine, and keep the answer. Raises ``GoneError``, ``TaskError``."""
        self.forget(work)
        news = self._engine.watch(work.id)  # what happens while it is asked counts
        found = None
        try:
            found = await self._inspect(work)
        finally:
            if found is None:
                self._engine.unwatch(work.id, news)
        if found is None:
            raise GoneError(f"No such container: {work.name}")
        self._keep(work, found, news)
        return found

    def made(self, work: Work, container_id: str) -> None:
        """Keep that the container has just been made."""
        state = {"Status": "created", "Running": False, "Pid": 0}
        found = {"Id": container_id, "State": state, "NetworkSettings": {}}
        self._keep(work, found, self._engine.watch(work.id))

    async def known(self, work: Work) -> dict[str, Any]:
        """Return what is kept, or look if there was news since. Raises as ``look``."""
        found, news = self._kept.get(work.id, (None, None))
        if found is None or news is None or news.is_set():
            return await self.look(work)
        return found

    async def once(self, work: Work, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the container once its ``State`` is as wished. Raises as ``look``."""
        with self._engine.news(work.id) as news:
            found = await self.known(work)
            while not condition(found["State"]):
                self.forget(work)
                await news.wait()
                news.clear()
                found = await self.look(work)
            if not found["State"]["Running"]:
                self.forget(work)
            return found

    def forget(self, work: Work) -> None:
        """Keep nothing of the task."""
        _, news = self._kept.pop(work.id, (None, None))
        if news is not None:
            self._engine.unwatch(work.id, news)

    def _keep(self, work: Work, found: dict[str, Any], news: asyncio.Event) -> None:
        self.forget(work)
        self._kept[work.id] = (found, news)
