"""What every stored object carries: an ID, a version, and when it was made and changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from swarmops.model.base import ZERO_TIME, Model


class ObjectVersion(Model, frozen=True):
    """The index of the Raft entry that last changed the object; updates must name it."""

    index: int = 0


class Object(Model, frozen=True):
    """Base of all stored objects. ``version`` and the times are set by the store alone."""

    id: str
    version: ObjectVersion = ObjectVersion()
    created_at: datetime = ZERO_TIME
    updated_at: datetime = ZERO_TIME


AnyObject = TypeVar("AnyObject", bound=Object)


def public(obj: AnyObject) -> AnyObject:
    """Return the object without the fields that only managers may see."""
    hidden: dict[str, Any] = {"internal": UNSET} if hasattr(obj, "internal") else {}
    return msgspec.structs.replace(obj, **hidden)
