"""What one look at a host brings: its system, its runtime, and what its node's socket answered.

Gathered by ``fleet.facts`` and given to the backend; ``base`` has it for third parties. Only data.
"""

from __future__ import annotations

from typing import Any

import msgspec


class PythonFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The interpreter that was found: ``version`` as (3, 11, 2)."""

    executable: str
    version: tuple[int, int, int]
    implementation: str = "cpython"
    libc: str = "glibc"
    libc_version: tuple[int, int] = (0, 0)


class UnitFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The systemd unit: systemd's own words for its states, SHA-256 of its file."""

    active: str = "inactive"
    sub: str = "dead"
    enabled: bool = False
    main_pid: int = 0
    digest: str | None = None


class ApiFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the node's socket answered, as the Docker Engine API spells it.

    ``swarm`` to ``services`` only from a manager; ``secrets`` to ``networks`` only where the
    playbook has some; ``error`` has the first refusal's text: what comes after it was not asked.
    """

    info: dict[str, Any] | None = None
    swarm: dict[str, Any] | None = None
    nodes: list[dict[str, Any]] | None = None
    services: list[dict[str, Any]] | None = None
    secrets: list[dict[str, Any]] | None = None
    configs: list[dict[str, Any]] | None = None
    networks: list[dict[str, Any]] | None = None
    error: str | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one round trip learns about a host.

    ``clock_offset_s`` is the host's clock less ours, without what may be due to the way there and
    back. ``current`` is the release that is switched on; ``release_ok`` that its files are as its
    manifest says; ``running_release`` the one that the daemon was started from, None if it doesn't
    run or its release can't be told.
    """

    hostname: str
    machine_id: str = ""
    """Of the machine as it runs now, until it boots again; '' where that can't be told."""
    python: PythonFacts
    system: str
    machine: str
    user: str
    is_root: bool
    systemd: bool
    releases: tuple[str, ...] = ()
    parts: bool = False
    """Transfers of bundles that were cut off left something to go on from."""
    current: str | None = None
    release_ok: bool = False
    running_release: str | None = None
    wrapper: bool = False
    group: bool = False
    unit: UnitFacts | None = None
    supervisor_pid: int | None = None
    daemon_pid: int = 0
    """The daemon's process, as systemd or the supervisor says; 0: it doesn't run."""
    data_dir_exists: bool = False
    lock_file_exists: bool = False
    socket_exists: bool = False
    api: ApiFacts | None = None
    api_error: str | None = None
    silent: bool = False
    """Somebody holds the socket, and did not answer in time."""
    engine: bool = False
    """Docker Engine is installed."""
    disk_free_bytes: int = 0
    memory_bytes: int = 0
    cpus: int = 1
    clock_offset_s: float = 0.0

    @property
    def running(self) -> bool:
        """The runtime answers on its socket."""
        return self.api is not None and self.api.info is not None
