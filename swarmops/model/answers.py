"""Answers of the API that are no stored objects: what was made, warnings, refusals."""

from __future__ import annotations

from msgspec import UNSET, field

from swarmops.model.base import Model, Opt


class Created(Model, frozen=True):
    """The answer to what was created."""

    id: str
    warnings: list[str] | Opt = UNSET
    """What the client should know of it; services have some."""


class Updated(Model, frozen=True):
    """The answer to a service's update."""

    warnings: list[str] | None = None


class NetworkCreated(Model, frozen=True):
    """The answer to a new network; Docker spells it in its own way."""

    id: str = field(name="Id")
    warning: str = ""


class NetworksDeleted(Model, frozen=True):
    """The names of the networks that were pruned."""

    networks_deleted: list[str] | None = None


class UnlockKeyAnswer(Model, frozen=True):
    """The key of locked managers, empty while they don't lock themselves."""

    unlock_key: str = ""

    def __repr__(self) -> str:
        return "UnlockKeyAnswer(…)"


class Refusal(Model, frozen=True):
    """Every refusal: one sentence."""

    message: str = field(name="message")
