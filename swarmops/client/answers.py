"""Answers of the API that are no stored objects: ping, version and info.

The client decodes them, the fleet's facts and ``swarmops status`` read them. Only the fields that
somebody here reads are named; an engine may send many more.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import field

from swarmops.model.base import ZERO_TIME, Labels, Model
from swarmops.model.swarm import SwarmInfo


class Ping(Model, frozen=True):
    """What the ping's headers say. ``swarm`` is empty where the engine doesn't tell."""

    api_version: str = ""
    swarm: str = ""


class Version(Model, frozen=True):
    """What serves the socket."""

    version: str = ""
    api_version: str = ""
    min_api_version: str = field(default="", name="MinAPIVersion")
    os: str = field(default="", name="Os")
    arch: str = ""
    kernel_version: str = ""


class Info(Model, frozen=True):
    """The host as its engine sees it, and its part in a swarm. Memory is in bytes."""

    id: str = ""
    name: str = ""
    server_version: str = ""
    operating_system: str = ""
    os_type: str = field(default="", name="OSType")
    architecture: str = ""
    ncpu: int = field(default=0, name="NCPU")
    mem_total: int = 0
    docker_root_dir: str = ""
    system_time: datetime = ZERO_TIME
    labels: list[str] | Labels | None = None
    swarm: SwarmInfo = SwarmInfo()


class Created(Model, frozen=True):
    """The answer to a create: the new object's ID, and what the manager wants to be known."""

    id: str = ""
    warnings: list[str] | None = None


class Failure(Model, frozen=True):
    """Body of every answer that is not a success."""

    message: str = field(default="", name="message")
