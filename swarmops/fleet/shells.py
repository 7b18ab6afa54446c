"""The open shells of one run: one a host, opened when first needed, closed together.

Made by the fleet's commands. Imports fabric only when a host is really reached over SSH.
"""

from __future__ import annotations

import importlib
import threading
from typing import Any, Self

from swarmops.backends.base import Shell
from swarmops.errors import InputError
from swarmops.fleet.credentials import Credentials, of_this_run
from swarmops.fleet.known_hosts import KnownHosts
from swarmops.fleet.local import LocalShell
from swarmops.fleet.target import Target


class Shells:
    """Safe to use from several threads; a context manager that closes what was opened."""

    def __init__(
        self, known: KnownHosts | None = None, credentials: Credentials | None = None
    ) -> None:
        self._known = known
        self._credentials = credentials or of_this_run()
        self._ways: Any = None
        self._lock = threading.Lock()
        self._open: dict[str, Shell] = {}

    def of(self, target: Target) -> Shell:
        """Return the host's shell; it connects with its first command. InputError if unknown."""
        with self._lock:
            shell = self._open.get(target.name)
            if shell is None:
                shell = self._make(self._credentials.complete(target))
                self._open[target.name] = shell
            return shell

    def _make(self, target: Target) -> Shell:
        if target.connection == "local":
            return LocalShell(target)
        if target.connection not in {"ssh", "smart", "paramiko", "paramiko_ssh"}:
            raise InputError(
                f"{target.name}: ansible_connection {target.connection!r} is not one that swarmops "
                "has: use ssh or local"
            )
        if self._ways is None:
            module = importlib.import_module("swarmops.fleet.connect")
            self._ways = module.Ways(self._known or KnownHosts(), self._credentials)
        shell: Shell = importlib.import_module("swarmops.fleet.ssh").SshShell(target, self._ways)
        return shell

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            shells, self._open = list(self._open.values()), {}
            ways, self._ways = self._ways, None
        for shell in shells:
            shell.close()
        if ways is not None:
            ways.gateways.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close every connection."""
        self.close()
