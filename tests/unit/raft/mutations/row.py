"""What a row of the tables is, and what makes a test of elsewhere one that a row can play."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest import mock

from tests.unit.raft.conftest import Group

Patch = Callable[[], AbstractContextManager[Any]]


@dataclasses.dataclass(frozen=True)
class Mutation:
    """A correction, how to take it out, and the test that notices, with its parameters."""

    name: str
    fault: str
    patch: Patch
    caught_by: Callable[..., Any]
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


def replace(owner: Any, name: str, stand_in: Any) -> Patch:
    """Take a correction out by putting something else in its place."""
    return lambda: mock.patch.object(owner, name, stand_in)


def in_group(test: Callable[[Any], Any]) -> Callable[..., None]:
    """Make a test of a group on loopback one without a fixture that needs a running loop."""

    def play(tmp_path: Path, unused_tcp_port_factory: Callable[[], int]) -> None:
        async def whole() -> None:
            group = Group(tmp_path, unused_tcp_port_factory)
            try:
                async with asyncio.timeout(20):
                    await test(group)
            finally:
                for manager in group.managers.values():
                    await manager.stop()

        asyncio.run(whole())

    play.__name__ = test.__name__
    return play
