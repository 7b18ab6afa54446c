"""What a row of the tables is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple
from unittest import mock

from tests.sim.raft.stories import Story

Patch = Callable[[], AbstractContextManager[Any]]


class Mutation(NamedTuple):
    """A correction, how to take it out, and what notices: a seed, or a story when that is sure.

    A seed is only the first that is tried. ``noticed_as`` is searched for in what was noticed:
    anything else is not this fault.
    """

    name: str
    fault: str
    patch: Patch
    caught_by: int | Story
    noticed_as: str


def replace(owner: Any, name: str, stand_in: Any) -> Patch:
    """Take a correction out by putting something else in its place."""
    return lambda: mock.patch.object(owner, name, stand_in)
