"""Uploads over a real sshd, through a wire that is cut: what arrived is not sent again."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import os
import random
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from swarmops.backends import hostside, native, upload
from swarmops.backends.base import Artifact, Shell
from swarmops.backends.bundle import Bundle, platform_of
from swarmops.errors import HostError
from swarmops.fleet.facts import gather
from swarmops.fleet.shells import Shells
from tests.unit.fleet_io.conftest import Server

MIB = 1 << 20
OVERHEAD_BYTES = 64 << 10
"""Handshake, the program, and each packet's head: far less than a mark of a part."""


class Wire:
    """A TCP relay to sshd that counts what goes there, and hangs up after ``cut_after`` of it."""

    def __init__(self, port: int) -> None:
        self.sent = 0
        self.cut_after: int | None = None
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)

    def _spawn(self, work: Callable[..., None], *args: socket.socket) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            self._spawn(self._there, client, server)
            self._spawn(self._back, server, client)

    def _there(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while piece := client.recv(16 << 10):
                self.sent += len(piece)
                server.sendall(piece)
                if self.cut_after is not None and self.sent >= self.cut_after:
                    break
        except OSError:
            pass  # the other direction ended first
        _hang_up(client, server)

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        try:
            while piece := server.recv(64 << 10):
                client.sendall(piece)
        except OSError:
            pass  # the other direction ended first
        _hang_up(client, server)
        client.close()
        server.close()

    def close(self) -> None:
        """Stop accepting; wait for the connections, which are closed already."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()


def _hang_up(*ends: socket.socket) -> None:
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue  # it is closed already


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    """A wire to the server."""
    wire = Wire(server.port)
    yield wire
    wire.close()


@pytest.fixture
def shell(server: Server, wire: Wire, shells: Shells) -> Iterator[Shell]:
    """A host at the other end of the wire."""
    yield shells.of(server.target(port=wire.port))
    shells.close()  # before the wire


def bundle(mib: int, seed: int) -> tuple[bytes, dict[str, bytes]]:
    """Return a bundle that gzip can't make smaller, and what is in it."""
    files = {f"file{n}": random.Random(seed + n).randbytes(MIB) for n in range(mib)}
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), 1, mtime=0), files


@pytest.fixture(autouse=True)
def _nothing_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An installation writes below the test's folder only."""
    monkeypatch.setattr(native, "WRAPPER", str(tmp_path / "bin" / "swarmops"))
    monkeypatch.setattr(native, "GROUP", "")


def install(shell: Shell, server: Server, content: bytes) -> None:
    """Observe the host and install a bundle as the native backend does, without systemd."""
    place = server.target().place
    facts = msgspec.structs.replace(gather(shell, place, native.NativeBackend.home), systemd=False)
    built = Bundle("r1", content, hashlib.sha256(content).hexdigest())
    backend = native.NativeBackend()
    backend._bundles[platform_of(facts)] = built
    backend.install(shell, facts, place, Artifact("r1"))


def released(folder: Path, prefix: str) -> list[Path]:
    """Return the parts there, once nobody writes to them: sshd has told the program of the end."""
    deadline = time.monotonic() + 10
    while True:
        parts = [path for path in folder.iterdir() if path.name.startswith(prefix)]
        if not any(map(_locked, parts)):
            return parts
        assert time.monotonic() < deadline, "the program on the host didn't end"
        time.sleep(0.02)  # between two looks at whether it ended


def _locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("cut_at", [0.3, 0.6, 0.95])
def test_a_cut_bundle_goes_on_where_it_stopped(
    server: Server, wire: Wire, shell: Shell, cut_at: float
) -> None:
    """Wherever the wire is cut, the next apply sends what is missing and not a MiB more."""
    content, files = bundle(8, seed=1)
    wire.cut_after = int(len(content) * cut_at)
    with pytest.raises(HostError, match="h1: the SSH connection was lost"):
        install(shell, server, content)
    releases = server.folder / "opt" / "releases"
    (part,) = released(releases, ".part-")
    arrived = part.stat().st_size
    assert part.read_bytes() == content[:arrived]
    assert arrived > len(content) * cut_at - 3 * MIB, "sshd holds at most a window back"

    wire.cut_after, before = None, wire.sent
    install(shell, server, content)
    assert wire.sent - before < len(content) - arrived + OVERHEAD_BYTES
    assert {n: (releases / "r1" / n).read_bytes() for n in files} == files
    assert [path.name for path in releases.iterdir()] == ["r1"]


@pytest.mark.slow
def test_a_bundle_cut_twice_loses_nothing(server: Server, wire: Wire, shell: Shell) -> None:
    """A transfer that went on and was cut again leaves what both brought."""
    content, files = bundle(8, seed=2)
    releases, sizes = server.folder / "opt" / "releases", []
    for _ in range(2):
        wire.cut_after = wire.sent + 3 * MIB
        with pytest.raises(HostError, match="lost"):
            install(shell, server, content)
        (part,) = released(releases, ".part-")
        sizes.append(part.stat().st_size)
    assert sizes[1] > sizes[0] > 0
    wire.cut_after, before = None, wire.sent
    install(shell, server, content)
    assert wire.sent - before < len(content) - sizes[1] + OVERHEAD_BYTES
    assert {n: (releases / "r1" / n).read_bytes() for n in files} == files


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoilt_at", "kept"), [(10, 0), (2 * MIB + 5, 2 * MIB), (5 * MIB - 1, 4 * MIB)]
)
def test_a_spoilt_part_is_noticed_and_sent_anew(
    server: Server, wire: Wire, shell: Shell, spoilt_at: int, kept: int
) -> None:
    """What is not as it was sent is sent again, from the last MiB that is right."""
    content, files = bundle(6, seed=3)
    releases = server.folder / "opt" / "releases"
    releases.mkdir(parents=True)
    part = bytearray(content[: 5 * MIB])
    part[spoilt_at] ^= 1
    (releases / ".part-old").write_bytes(part)
    install(shell, server, content)
    assert len(content) - kept < wire.sent < len(content) - kept + OVERHEAD_BYTES
    assert {n: (releases / "r1" / n).read_bytes() for n in files} == files
    assert [path.name for path in releases.iterdir()] == ["r1"]


def test_a_bundle_that_begins_alike_takes_the_others_part(
    server: Server, wire: Wire, shell: Shell
) -> None:
    """Content counts, not names: what a cut transfer of former code left serves the new one."""
    former, latter = bundle(4, seed=4)[0], bundle(1, seed=5)[0]
    content = former[: 3 * MIB] + latter  # not unpackable: the transfer is what counts here
    releases = server.folder / "opt" / "releases"
    releases.mkdir(parents=True)
    (releases / ".part-old").write_bytes(former)
    with pytest.raises(HostError, match="broke off"):
        install(shell, server, content)
    assert wire.sent < len(latter) + OVERHEAD_BYTES
    assert list(releases.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("again", ["same", "smaller"])
def test_a_cut_file_goes_on_where_it_stopped(
    wire: Wire, shell: Shell, tmp_path: Path, again: str
) -> None:
    """A large file keeps its old content until the new is whole; no part outlives that."""
    path = tmp_path / "'my' files" / "file"
    content = random.Random(6).randbytes(8 * MIB)
    shell.put(b"old", str(path))
    wire.cut_after = wire.sent + 5 * MIB
    with pytest.raises(HostError, match="lost"):
        shell.put(content, str(path))
    (part,) = released(path.parent, ".file.swarmops-part-")
    arrived = part.stat().st_size
    assert arrived > 2 * MIB
    assert path.read_bytes() == b"old"
    wire.cut_after, before = None, wire.sent
    if again == "smaller":
        content, arrived = b"new", 0
    shell.put(content, str(path), 0o640)
    assert wire.sent - before < len(content) - arrived + OVERHEAD_BYTES
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_transfer_under_way_is_not_swept(shell: Shell, tmp_path: Path) -> None:
    """Whoever else writes the same file comes to its end; what hangs disturbs nobody."""
    folder = tmp_path / "files"
    folder.mkdir()
    other = folder / ".file.swarmops-part-other"
    with other.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        shell.put(b"x" * 5 * MIB, str(folder / "file"))
        assert sorted(p.name for p in folder.iterdir()) == [other.name, "file"]
    shell.put(b"y", str(folder / "file"))
    assert [p.name for p in folder.iterdir()] == ["file"]


def test_without_a_part_nothing_is_asked(
    server: Server, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first installation is one round trip, as before; no file starts a Python more than once."""
    ran: list[str] = []
    call = hostside.call

    def counted(shell: Shell, program: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        ran.append(program)
        return call(shell, program, *args, **kwargs)

    monkeypatch.setattr(hostside, "call", counted)
    install(shell, server, bundle(1, seed=7)[0])
    shell.put(b"small", str(server.folder / "small"))
    shell.put(b"x" * 5 * MIB, str(server.folder / "a large *"))
    assert ran == ["facts", "install", "put", "put"]


CONTENT = os.urandom(1000)


def marked(path: str, content: bytes, *sizes: int) -> upload.Part:
    """Return a part with marks at these sizes."""
    marks = tuple((n, hashlib.sha256(content[:n]).hexdigest()) for n in sizes)
    return upload.Part(path, marks)


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ([], None),
        ([upload.Part("empty")], None),
        ([marked("a", CONTENT, 100, 150)], ("a", 150)),
        ([marked("a", CONTENT[:120] + bytes(880), 100, 150)], ("a", 100)),
        ([marked("a", bytes(1000), 100, 1000)], None),
        ([marked("a", CONTENT, 100), marked("b", CONTENT, 100, 200)], ("b", 200)),
        ([marked("whole", CONTENT, 1000)], ("whole", 1000)),
        ([marked("longer", CONTENT + b"more", 500, 1004)], ("longer", 500)),
    ],
)
def test_the_longest_right_beginning_is_found(
    parts: list[upload.Part], found: tuple[str, int] | None
) -> None:
    """Of all parts, the one that is right for most bytes; never a byte that isn't."""
    assert upload.longest(parts, CONTENT) == found
