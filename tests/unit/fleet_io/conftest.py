"""A real sshd on a loopback port, with its own keys, for the tests of the operator's hands."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from swarmops.backends.base import Place
from swarmops.fleet.known_hosts import KnownHosts
from swarmops.fleet.shells import Shells
from swarmops.fleet.ssh_config import read_config
from swarmops.fleet.target import Target

_CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
{extra}
"""


class Server:
    """One sshd: its keys live in ``folder``; it can be stopped and started with other keys."""

    def __init__(self, folder: Path, extra: str = "") -> None:
        self.folder = folder
        self.extra = extra
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port: int = sock.getsockname()[1]
        self.new_key("host_key")
        self.new_key("user_key")
        self._process: subprocess.Popen[bytes] | None = None

    def new_key(self, name: str) -> Path:
        """Make a key pair, instead of the one of that name."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        path.with_suffix(".pub").unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
        return path

    def start(self) -> None:
        """Start it and wait until it listens."""
        config = self.folder / "sshd_config"
        config.write_text(_CONFIG.format(port=self.port, folder=self.folder, extra=self.extra))
        sshd = shutil.which("sshd", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        assert sshd, "openssh-server is not installed"
        Path("/run/sshd").mkdir(exist_ok=True)
        with (self.folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen([sshd, "-D", "-e", "-f", str(config)], stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert time.monotonic() < deadline, (self.folder / "sshd.log").read_text()
                time.sleep(0.02)  # between two looks at whether it listens
            else:
                return

    def stop(self) -> None:
        """Stop it and wait for its end."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def freeze_sessions(self) -> list[int]:
        """Stop whoever serves a connection, as a machine that hangs would; return their pids."""
        assert self._process is not None
        listed = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        frozen = [int(pid) for pid in listed.split()]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        return frozen

    def target(self, **changes: object) -> Target:
        """Return how to reach it, with the right key unless changed."""
        target = Target(
            name="h1",
            address="127.0.0.1",
            port=self.port,
            user=getpass.getuser(),
            private_key_files=(str(self.folder / "user_key"),),
            python_interpreter=sys.executable,
            place=Place(
                host="h1",
                data_dir=str(self.folder / "data"),
                socket=str(self.folder / "node.sock"),
                root_dir=str(self.folder / "opt"),
            ),
        )
        return msgspec.structs.replace(target, **changes)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A running sshd."""
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def known(tmp_path: Path) -> KnownHosts:
    """No host is known; what is met goes to a file of the test's."""
    return KnownHosts(tmp_path / "state" / "known_hosts", others=())


@pytest.fixture
def shells(known: KnownHosts) -> Iterator[Shells]:
    """Shells that are closed at the end."""
    with Shells(known) as shells:
        yield shells


@pytest.fixture
def ssh_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return what writes the user's ssh_config."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()

    def write(text: str) -> None:
        (tmp_path / ".ssh" / "config").write_text(text)
        read_config.cache_clear()

    write("")
    yield write
    read_config.cache_clear()
