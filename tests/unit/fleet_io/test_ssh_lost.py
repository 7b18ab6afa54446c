"""Connections that are lost: who says nothing is asked, given up and named, and opened again."""

from __future__ import annotations

import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import fabric
import paramiko
import pytest

from swarmops.errors import HostError
from swarmops.fleet import connect
from swarmops.fleet.credentials import Credentials
from swarmops.fleet.known_hosts import KnownHosts
from swarmops.fleet.shells import Shells
from swarmops.fleet.ssh import SshShell
from swarmops.fleet.ssh_config import keepalive_s, quiet_max
from swarmops.fleet.ssh_errors import is_silent, reason_of, why_lost
from swarmops.fleet.ssh_transport import SilentError, Transport
from tests.unit.fleet_io.conftest import Server


@pytest.mark.parametrize(
    ("said", "interval_s", "most"),
    [
        ("", 15, 3),
        ("ServerAliveInterval 60", 60, 3),
        ("ServerAliveInterval 1m30s", 90, 3),
        ("ServerAliveInterval 0", math.inf, 3),
        ("ServerAliveInterval often", 15, 3),
        ("ServerAliveCountMax 1", 15, 2),
        ("ServerAliveCountMax 999999999", 15, 999_999_999),
    ],
)
def test_how_often_a_host_is_asked_for_life(
    server: Server, ssh_config: Callable[[str], None], said: str, interval_s: float, most: int
) -> None:
    """As ssh_config says, in its own units; a host is never given up before it was asked."""
    ssh_config(f"Host *\n {said}\n")
    hop = connect.connect(server.target(), connect.Ways(KnownHosts(), Credentials()))
    try:
        assert (keepalive_s(hop), quiet_max(hop)) == (interval_s, most)
    finally:
        hop.close()


def test_a_host_on_the_way_that_is_lost_is_named() -> None:
    """And not the host behind it, nor another one on the way, whatever became of the attempt."""
    first = fabric.Connection("jump.example.net", port=2222)
    first.transport = mock.Mock(lost="it said nothing for 45 s")
    second = fabric.Connection("10.0.0.1", gateway=first)
    hop = fabric.Connection("10.0.0.2", gateway=second)
    reason = (
        "jump.example.net:2222, on the way to it, was lost (it said nothing for 45 s): try again"
    )
    for error in (SilentError(45), paramiko.SSHException("Unable to open channel."), EOFError()):
        assert reason_of(error, hop) == reason
    assert why_lost(hop) == "it said nothing for 45 s"
    assert is_silent(SilentError(45))


def test_a_hop_that_does_not_let_us_in_is_not_left_open(
    server: Server, known: KnownHosts, ssh_config: Callable[[str], None]
) -> None:
    """Each attempt would take one of the places that its sshd has for those who log in."""
    ssh_config("")
    (server.folder / "user_key.pub").write_text("")
    with Shells(known) as shells:
        target = server.target(address="localhost", jump=f"127.0.0.1:{server.port}")
        for _ in range(3):
            with pytest.raises(HostError, match="refused every key"):
                shells.of(target).run("true")
        threads = [one for one in threading.enumerate() if isinstance(one, Transport)]
        assert not [thread for thread in threads if thread.is_active()]


def test_what_became_of_an_old_connection_is_no_matter_of_the_new_one(
    server: Server, shells: Shells
) -> None:
    """Who hears late that his was lost leaves the one alone that others have opened since."""
    shell = shells.of(server.target())
    assert isinstance(shell, SshShell)
    old = shell._connected()
    old.transport.close()
    new = shell._connected()
    assert "was lost (the connection was closed): try" in str(shell._lost(EOFError(), old))
    assert shell._connected() is new
    assert shell.run("true").ok


def test_a_lost_bastion_is_opened_again(
    server: Server, shells: Shells, ssh_config: Callable[[str], None]
) -> None:
    """The next command of every host behind it works."""
    ssh_config("")
    jump = f"{server.target().user}@127.0.0.1:{server.port}"
    shell = shells.of(server.target(address="localhost", jump=jump))
    assert shell.run("true").ok
    for hop in shells._ways.gateways._open.values():
        hop.transport.close()
    with pytest.raises(HostError):
        shell.run("true")
    assert shell.run("true").ok


@pytest.mark.slow
def test_an_idle_connection_shows_that_it_is_there(
    tmp_path: Path, shells: Shells, ssh_config: Callable[[str], None]
) -> None:
    """As often as ssh_config says, so that no firewall on the way forgets it.

    A command that says nothing for longer than a host may be silent is no host that is silent.
    """
    (tmp_path / "other").mkdir()
    server = Server(tmp_path / "other", "LogLevel DEBUG1")
    server.start()
    ssh_config("Host *\n ServerAliveInterval 1\n ServerAliveCountMax 4\n")
    try:
        assert shells.of(server.target()).run("sleep 6").ok
        log = (server.folder / "sshd.log").read_text()
        assert "rtype keepalive@openssh.com want_reply 1" in log
        assert log.count("Accepted publickey") == 1
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("writing", [False, True])
@pytest.mark.parametrize("lost", ["a host", "a host behind another", "a host on the way"])
def test_a_host_that_says_nothing_any_more_is_given_up(
    server: Server,
    tmp_path: Path,
    shells: Shells,
    ssh_config: Callable[[str], None],
    lost: str,
    *,
    writing: bool,
) -> None:
    """Also one behind another, which takes what is sent there; the next command works again.

    It may be sent something all the time, and a host on the way may be the one that is lost.
    """
    ssh_config("Host *\n ServerAliveInterval 1\n ServerAliveCountMax 3\n")
    near = server.target()
    (tmp_path / "far").mkdir()
    far = Server(tmp_path / "far")
    shutil.copy(server.folder / "user_key.pub", far.folder)
    far.start()
    shell = shells.of(
        far.target(
            private_key_files=near.private_key_files,
            jump=f"{near.user}@127.0.0.1:{server.port}" if lost != "a host" else None,
        )
    )
    runs = tmp_path / "runs"
    over = threading.Event()

    def trickle() -> Iterator[bytes]:
        while writing and not over.wait(0.2):
            yield b"x"

    stopped: list[int] = []
    try:
        with ThreadPoolExecutor(1) as pool:
            script = f"touch {runs}; sleep 60"
            running = pool.submit(shell.run, script, stdin=trickle())
            while not runs.exists():
                assert not running.done(), running.result()
                time.sleep(0.02)  # between two looks at whether it runs
            stopped += (server if lost == "a host on the way" else far).freeze_sessions()
            began = time.monotonic()
            with pytest.raises(HostError, match=r"was lost \(it said nothing for 3 s\): try again"):
                running.result()
            assert 1 < time.monotonic() - began < 20
        for hop in shells._ways.gateways._open.values():
            while lost == "a host on the way" and hop.is_connected:
                assert time.monotonic() - began < 20
                time.sleep(0.02)  # between two looks at whether it was given up, too
        assert shell.run("true").ok
    finally:
        over.set()
        for pid in stopped:
            os.kill(pid, signal.SIGKILL)
        far.stop()
