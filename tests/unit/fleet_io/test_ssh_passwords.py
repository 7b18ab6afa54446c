"""Passwords go to hosts that are who they were, and to nobody in between."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from swarmops.backends.base import Place
from swarmops.errors import HostError
from swarmops.fleet.connect import Ways, connect
from swarmops.fleet.credentials import Credentials
from swarmops.fleet.disconnect import disconnect
from swarmops.fleet.known_hosts import KnownHosts
from swarmops.fleet.target import Target


class Listener:
    """An SSH server that takes any password, and keeps them."""

    def __init__(self) -> None:
        self.passwords: list[str] = []
        self._key = paramiko.ECDSAKey.generate()
        self._door = socket.create_server(("127.0.0.1", 0))
        self._transports: list[paramiko.Transport] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._door.getsockname()[1])

    def _serve(self) -> None:
        listener = self

        class Desk(paramiko.ServerInterface):
            def check_auth_password(self, username: str, password: str) -> int:
                del username
                listener.passwords.append(password)
                return paramiko.common.AUTH_SUCCESSFUL

            def get_allowed_auths(self, username: str) -> str:
                del username
                return "password"

        while True:
            try:
                sock, _ = self._door.accept()
            except OSError:
                return
            transport = paramiko.Transport(sock)
            transport.add_server_key(self._key)
            self._transports.append(transport)
            transport.start_server(threading.Event(), Desk())

    def close(self) -> None:
        """Hang up."""
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self._thread.join(60)
        for transport in self._transports:
            transport.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A server that takes any password."""
    made = Listener()
    yield made
    made.close()


def target(port: int) -> Target:
    """Return how to reach it with a password, whatever its key is."""
    return Target(
        name="h1",
        address="127.0.0.1",
        port=port,
        user="ops",
        password="sesame",
        connect_timeout_s=60,
        host_key_checking="no",
        place=Place(host="h1"),
    )


@pytest.fixture
def ways(tmp_path: Path) -> Ways:
    """Nobody is known."""
    return Ways(KnownHosts(tmp_path / "known_hosts", others=()), Credentials())


def test_a_host_that_is_met_gets_the_password(listener: Listener, ways: Ways) -> None:
    """The first time, and once its key is known."""
    for _ in range(2):
        disconnect(connect(target(listener.port), ways))
    assert listener.passwords == ["sesame"] * 2


def test_a_host_whose_key_has_changed_gets_no_password(listener: Listener, ways: Ways) -> None:
    """Also where changed keys are taken; the sentence says which line is the known one's."""
    other = paramiko.ECDSAKey.generate()
    ways.known.record(f"[127.0.0.1]:{listener.port}", other.get_name(), other.asbytes())
    with pytest.raises(HostError) as caught:
        connect(target(listener.port), ways)
    assert f"not the one in {ways.known.own} line 1, and to such a host no password" in str(
        caught.value
    )
    assert listener.passwords == []
