"""A local socket that is the swarm's API: each connection goes to a manager over SSH.

Called by ``swarmops tunnel``. A manager that stops answering is replaced by another one with the
next connection. At most eight connections at a time fit into one SSH connection: the ninth waits.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from swarmops.backends.base import HostSocket
from swarmops.errors import HostError, InputError, SwarmopsError

_CHUNK_BYTES = 1 << 16
_END_WITHIN_S = 2.0
Open = Callable[[], HostSocket]
"""Connects to a manager's API; raises SwarmopsError."""


class Tunnel:
    """Serves from the moment it is made until it is closed; a context manager.

    Raises InputError if the socket can't be made. ``on_error`` hears why a connection failed.
    """

    def __init__(
        self, path: Path, open_manager: Open, on_error: Callable[[str], None] = lambda _: None
    ) -> None:
        self.path = path
        self._open = open_manager
        self._on_error = on_error
        self._listener = _listen(path)
        self._serving: dict[threading.Thread, socket.socket] = {}
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving, remove the socket, and hang up on whoever is connected."""
        # Closing alone doesn't wake a thread that waits in accept.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(_END_WITHIN_S)
        self._listener.close()
        self.path.unlink(missing_ok=True)
        for thread, near in list(self._serving.items()):
            with contextlib.suppress(OSError):
                near.shutdown(socket.SHUT_RDWR)
            thread.join(_END_WITHIN_S)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(near,), daemon=True)
            self._serving[thread] = near
            thread.start()

    def _serve(self, near: socket.socket) -> None:
        try:
            with near:
                self._join(near)
        finally:
            self._serving.pop(threading.current_thread(), None)

    def _join(self, near: socket.socket) -> None:
        try:
            far = self._open()
        except SwarmopsError as error:
            self._on_error(str(error))
            return
        back = threading.Thread(target=_from_manager, args=(far, near), daemon=True)
        back.start()
        _to_manager(near, far)
        back.join()


def _to_manager(near: socket.socket, far: HostSocket) -> None:
    with contextlib.suppress(OSError):
        while part := near.recv(_CHUNK_BYTES):
            far.sendall(part)
    # The client has said all: the manager may still answer.
    shutdown = getattr(far, "shutdown", None)
    with contextlib.suppress(OSError):
        if shutdown is not None:
            shutdown(socket.SHUT_WR)


def _from_manager(far: HostSocket, near: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := far.recv(_CHUNK_BYTES):
            near.sendall(part)
    with contextlib.suppress(OSError):
        near.shutdown(socket.SHUT_RDWR)
    far.close()


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.is_socket() and _is_dead(path):
            path.unlink()
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(64)
    except OSError as error:
        listener.close()
        reason = "another tunnel serves it" if path.is_socket() else (error.strerror or str(error))
        raise InputError(
            f"the socket {path} can't be made ({reason}): choose another with --socket"
        ) from error
    return listener


def _is_dead(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return True
    return False


def manager_socket(swarm_host: Callable[[], str], connect: Callable[[str], HostSocket]) -> Open:
    """Return what opens connections to one manager, and to another once that one fails.

    ``swarm_host`` finds a manager that answers, ``connect`` reaches a host's API.
    """
    lock = threading.Lock()
    current: list[str] = []

    def open_manager() -> HostSocket:
        with lock:
            if not current:
                current.append(swarm_host())
            host = current[0]
        try:
            return connect(host)
        except HostError:
            with lock:
                if current == [host]:
                    current[0] = swarm_host()
                host = current[0]
            return connect(host)

    return open_manager
