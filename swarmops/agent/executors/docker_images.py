"""Having a task's image here: pulled as Docker pulls it, and once for all who want it at a time.

Called by the container executors before they make a container. Like Docker, a tag is asked for
again with each task, since it may have moved, and a registry that can't be reached is no reason not
to run the image that is here. Other than Docker, an image that never came from a registry is not
looked for there.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import structlog

from swarmops.agent.executors.base import TaskError
from swarmops.agent.executors.docker_engine import Engine, NotFoundError, image_name

FAILED_S = 30.0
"""A registry that failed is not asked again so soon for an image that is here."""
log = structlog.get_logger(__name__)


class Images:
    """The images of one engine; ``clock`` is in seconds."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._failed: dict[str, float] = {}
        self._pulls: dict[tuple[str, str], _Shared] = {}

    async def have(self, image: str, registry_auth: str) -> None:
        """Return once the image is here. Raises ``TaskError`` as Docker words it."""
        here = await self._inspect(image)
        if here is not None and not self._may_have_moved(image, here):
            return
        key = (image, registry_auth)
        pull = self._pulls.get(key)
        if pull is None:
            pull = self._pulls[key] = _Shared(self._engine, image, registry_auth)
            pull.task.add_done_callback(lambda _: self._pulls.pop(key, None))
        try:
            await pull.wait()
        except TaskError as error:
            if here is None:
                name = image_name(image)
                raise TaskError(f"No such image: {name} (pulling it failed: {error})") from error
            if not self._may_have_moved(image, here):
                return  # another task has said it
            self._failed[image] = self._clock()
            log.warning(
                "pulling failed: the image that is here is run", image=image, why=str(error)
            )

    async def _inspect(self, image: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = await self._engine.call(
                lambda client: client.inspect_image(image)  # type: ignore[no-untyped-call]
            )
        except NotFoundError:
            return None
        return found

    def _may_have_moved(self, image: str, here: dict[str, Any]) -> bool:
        """Whether a registry may have another image under the name by now."""
        if "@" in image or here["Id"] == image or not here.get("RepoDigests"):
            return False
        failed_s = self._failed.get(image)
        return failed_s is None or self._clock() - failed_s > FAILED_S


class _Shared:
    """One pull for all who wait for it; it ends early once nobody does."""

    def __init__(self, engine: Engine, image: str, registry_auth: str) -> None:
        self.task = asyncio.create_task(engine.pull(image, registry_auth), name=f"pull {image}")
        self._waiting = 0

    async def wait(self) -> None:
        """Return once it is pulled. Raises ``TaskError`` or ``TemporaryError``."""
        self._waiting += 1
        try:
            await asyncio.shield(self.task)
        except asyncio.CancelledError:
            if self._waiting == 1:
                self.task.cancel()
                with contextlib.suppress(asyncio.CancelledError, TaskError):
                    await asyncio.wait([self.task])
            raise
        finally:
            self._waiting -= 1
