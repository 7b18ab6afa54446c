"""What ``GET /events`` says: one message for each change that clients can see."""

from __future__ import annotations

from functools import cached_property

import msgspec

from swarmops.model.base import Model


class Actor(Model, frozen=True):
    """What changed, and what is worth saying of it."""

    id: str
    attributes: dict[str, str]


class EventMessage(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One event in Docker's form; times are Unix seconds and nanoseconds."""

    type: str = msgspec.field(name="Type")
    action: str = msgspec.field(name="Action")
    actor: Actor = msgspec.field(name="Actor")
    scope: str = "swarm"
    time: int
    time_ns: int = msgspec.field(name="timeNano")

    @cached_property
    def line(self) -> bytes:
        """Its JSON and a line's end, alike in all versions of the API and made once for all."""
        return msgspec.json.encode(self) + b"\n"
