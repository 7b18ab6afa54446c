"""A Docker Engine of the tests' own: nothing of the machine's own Docker is touched."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

IMAGE = "busybox:1"
WITHIN_S = 60.0


@contextmanager
def engine(folder: Path) -> Iterator[str]:
    """Start an engine with a busybox image, give its address, stop it and remove all of it."""
    address = f"unix://{folder}/docker.sock"
    with _bridge() as bridge, (folder / "log").open("wb") as log:
        yield from _run(folder, address, bridge, log)


@contextmanager
def _bridge() -> Iterator[str]:
    """Make a bridge for the engine's containers, so that it leaves the machine's own alone."""
    name = f"sw{secrets.token_hex(5)}"
    address = f"10.{secrets.randbelow(50) + 150}.{secrets.randbelow(256)}.1/24"
    _ip("link", "add", "name", name, "type", "bridge")
    try:
        _ip("address", "add", address, "dev", name)
        _ip("link", "set", name, "up")
        yield name
    finally:
        _ip("link", "delete", name)


def _ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True)


def _run(folder: Path, address: str, bridge: str, log: IO[bytes]) -> Iterator[str]:
    daemon = subprocess.Popen(
        [
            "dockerd",
            f"--data-root={folder}/data",
            f"--exec-root={folder}/exec",
            f"--pidfile={folder}/pid",
            f"--host={address}",
            f"--bridge={bridge}",
            "--iptables=false",
        ],
        stdout=log,
        stderr=log,
    )
    try:
        _until_it_answers(address, daemon, folder / "log")
        docker(address, "import", "--change=ENV PATH=/bin", "-", IMAGE, stdin=busybox())
        yield address
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(WITHIN_S)
        shutil.rmtree(folder, ignore_errors=True)


_PODMAN = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
netns = "host"

[engine]
init_path = "/usr/bin/docker-init"
"""
"""By itself Podman asks for more than a limited machine may give, and for a bridge that it leaves
behind, on the whole of 10.88.0.0/16."""


@contextmanager
def podman(folder: Path, registry: str) -> Iterator[str]:
    """Start Podman's service with a busybox image, give its address, remove all of it.

    The registry is spoken to without TLS, as Docker does by itself with every one on loopback.
    """
    address = f"unix://{folder}/podman.sock"
    configuration = folder / "containers.conf"
    configuration.write_text(_PODMAN)
    registries = folder / "registries.conf"
    registries.write_text(
        f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n'
        '[[registry]]\nlocation = "docker.io"\nblocked = true\n'
    )
    command = ["podman", f"--root={folder}/data", f"--runroot={folder}/run"]
    command += ["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=file"]
    if shutil.which("runc"):  # crun refuses machines with both versions of control groups
        command += ["--runtime=runc"]
    environment = os.environ | {
        "CONTAINERS_CONF": str(configuration),
        "CONTAINERS_REGISTRIES_CONF": str(registries),
    }
    with (folder / "log").open("wb") as log:
        service = subprocess.Popen(
            [*command, "system", "service", "--time=0", address],
            stdout=log,
            stderr=log,
            env=environment,
        )
    try:
        _until_it_answers(address, service, folder / "log")
        docker(address, "import", "--change=ENV PATH=/bin", "-", IMAGE, stdin=busybox())
        yield address
    finally:
        subprocess.run([*command, "rm", "--all", "--force"], env=environment, check=False)
        service.send_signal(signal.SIGTERM)
        service.wait(WITHIN_S)
        shutil.rmtree(folder, ignore_errors=True)


def docker(address: str, *args: str, stdin: bytes = b"") -> str:
    """Run the docker CLI on the engine and return its output."""
    done = subprocess.run(
        ["docker", "-H", address, *args], input=stdin, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def _until_it_answers(address: str, daemon: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline and daemon.poll() is None:
        info = ["docker", "-H", address, "info"]
        if subprocess.run(info, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    raise AssertionError(f"dockerd did not start: {log.read_text()[-2000:]}")


def busybox() -> bytes:
    """Return busybox's root file system as a tar archive: the binary, a link for each command."""
    binary = os.path.realpath("/bin/busybox")
    commands = subprocess.run([binary, "--list"], capture_output=True, text=True, check=True)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.add(binary, "bin/busybox")
        for name in ("dev", "etc", "proc", "sys", "tmp"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for command in set(commands.stdout.split()) - {"busybox"}:
            entry = tarfile.TarInfo(f"bin/{command}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return out.getvalue()
