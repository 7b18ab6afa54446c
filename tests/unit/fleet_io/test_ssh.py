"""The operator's hands against a real sshd."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from swarmops.backends.base import Shell
from swarmops.backends.native import NativeBackend
from swarmops.errors import HostError, HostTimeoutError
from swarmops.fleet.facts import gather
from swarmops.fleet.known_hosts import KnownHosts, parse
from swarmops.fleet.shells import Shells
from swarmops.fleet.ssh_config import read_config
from tests.unit.fleet_io.conftest import Server


@pytest.fixture(params=["ssh", "local"])
def shell(request: pytest.FixtureRequest, shells: Shells) -> Shell:
    """A shell over SSH, and one on this machine: both keep the same promises."""
    if request.param == "ssh":
        server: Server = request.getfixturevalue("server")
        return shells.of(server.target())
    server = Server(request.getfixturevalue("tmp_path"))
    return shells.of(server.target(connection="local"))


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[str]:
    """A unix socket that answers in capitals, and closes when the other side does."""
    path = str(tmp_path / "echo.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        server.settimeout(60)

        def serve() -> None:
            with server.accept()[0] as peer:
                while part := peer.recv(1 << 16):
                    peer.sendall(part.upper())

        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        thread.join(60)
        assert not thread.is_alive(), "the connection was not closed"


def test_a_command_gets_its_input_and_its_outcome_is_told(shell: Shell) -> None:
    """Standard input, both outputs and the exit status arrive as they are."""
    result = shell.run("cat; echo complaint >&2; exit 3", stdin=b"in\0put")
    assert (result.rc, result.stdout, result.stderr) == (3, b"in\0put", b"complaint\n")
    assert shell.run(["printf", "%s|", "a b", "$HOME", "'"]).stdout == b"a b|$HOME|'|"


def test_much_input_and_output_at_once_does_not_block(shell: Shell) -> None:
    """Megabytes in both directions pass, whoever reads first."""
    content = os.urandom(1 << 16) * 64
    parts = [content[i : i + 100_000] for i in range(0, len(content), 100_000)]
    assert shell.run("cat", stdin=parts).stdout == content


def test_much_said_on_stderr_does_not_block(shell: Shell) -> None:
    """It is more than the SSH window holds, before anything comes on stdout."""
    said = 40_000_000
    script = f"head -c {said} /dev/zero >&2; echo done"
    result = shell.run(["sh", "-c", script], timeout_s=60)
    assert (result.rc, result.stdout, len(result.stderr)) == (0, b"done\n", said)


def test_a_command_that_reads_no_input_is_judged_by_its_exit_status(shell: Shell) -> None:
    """Input that nobody takes is no error."""
    assert shell.run("exit 5", stdin=[b"x" * (1 << 20)] * 4).rc == 5


def test_a_command_that_hangs_is_given_up(shell: Shell) -> None:
    """A time limit ends in one sentence, soon after the limit."""
    before = time.monotonic()
    with pytest.raises(HostError, match=r"h1: a command didn't finish within 0.3 s: .*sleep 120"):
        shell.run("sleep 120", timeout_s=0.3)
    assert time.monotonic() - before < 60


def test_a_file_appears_whole_with_its_mode(shell: Shell, tmp_path: Path) -> None:
    """A file is replaced in one step, with the mode asked for, and nothing else is left there."""
    path = tmp_path / "new" / "folder" / "file"
    shell.put(b"old", str(path))
    shell.put(b"new" * 100_000, str(path), 0o600)
    assert path.read_bytes() == b"new" * 100_000
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB; the pages of tmpfs are its blocks."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a file system")
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(path)], check=True)
    yield path
    subprocess.run(["umount", str(path)], check=True)


@pytest.mark.root
def test_a_full_disk_is_one_sentence_and_leaves_nothing(shell: Shell, small_disk: Path) -> None:
    """A file that finds no room is named with the cure, and the old one stays."""
    shell.put(b"old", str(small_disk / "file"))
    with pytest.raises(HostError, match=r"h1: no space left on device.*: free some space"):
        shell.put(os.urandom(1 << 20), str(small_disk / "file"))
    assert [(p.name, p.read_bytes()) for p in small_disk.iterdir()] == [("file", b"old")]


def test_a_file_where_no_file_can_be_is_one_sentence(shell: Shell, tmp_path: Path) -> None:
    """A path that leads through a file is named."""
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match=r"h1: (file exists|not a directory) \(.*/file"):
        shell.put(b"x", str(tmp_path / "file" / "below"))


def test_a_socket_on_the_host_is_like_one_here(shell: Shell, echo: str) -> None:
    """A unix socket of the host takes and gives bytes, and ends when it is closed."""
    sock = shell.open_socket(echo)
    sock.settimeout(60)
    sock.sendall(b"hello\n")
    assert sock.makefile("rb").readline() == b"HELLO\n"
    sock.close()


def test_a_socket_that_nobody_serves_is_one_sentence(shell: Shell, tmp_path: Path) -> None:
    """A missing socket is named."""
    with pytest.raises(HostError, match=r"h1: nothing serves .*absent.* \(No such file"):
        shell.open_socket(str(tmp_path / "absent"))


@pytest.mark.slow
def test_closed_sockets_give_their_place_back(
    server: Server, shells: Shells, tmp_path: Path
) -> None:
    """More sockets than sshd allows at once can be opened one after the other."""
    shell = shells.of(server.target())
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(20)
        for _ in range(12):
            shell.open_socket(path).close()
        with pytest.raises(HostError):
            shell.open_socket(f"{path}-absent")


def test_an_unknown_host_is_recorded_once(
    server: Server, shells: Shells, known: KnownHosts
) -> None:
    """The first contact is written down, the second finds it."""
    for _ in range(2):
        shells.close()
        assert shells.of(server.target()).run("true").ok
    (entry,) = parse(known.own.read_text(), "")
    assert entry.patterns == f"[127.0.0.1]:{server.port}"


def test_a_changed_host_key_is_refused(server: Server, shells: Shells, known: KnownHosts) -> None:
    """Another key than the recorded one is refused: file, line and cure are named."""
    assert shells.of(server.target()).run("true").ok
    shells.close()
    server.stop()
    server.new_key("host_key")
    server.start()
    with pytest.raises(HostError) as caught:
        shells.of(server.target()).run("true")
    assert f"{known.own} line 1" in str(caught.value)
    assert "ssh-keygen -f" in str(caught.value)
    assert "changed" in str(caught.value)


def test_an_unknown_host_is_refused_where_the_user_wants_that(
    server: Server, shells: Shells
) -> None:
    """With strict checking nothing is recorded by itself."""
    with pytest.raises(HostError, match="is not known and host_key_checking is yes"):
        shells.of(server.target(host_key_checking="yes")).run("true")


def test_a_wrong_key_is_refused(server: Server, shells: Shells) -> None:
    """A key that the host doesn't accept: user, host and cure are named."""
    wrong = server.new_key("wrong_key")
    with pytest.raises(HostError, match=r"refused every key for user .*authorized_keys"):
        shells.of(server.target(private_key_files=(str(wrong),))).run("true")


def test_an_absent_key_file_is_named(server: Server, shells: Shells) -> None:
    """A key file that isn't there is the inventory's fault, and said so."""
    with pytest.raises(HostError, match="no key file /absent/key: see ansible_ssh_private_key"):
        shells.of(server.target(private_key_files=("/absent/key",))).run("true")


def test_a_host_that_is_off_is_one_sentence(server: Server, shells: Shells) -> None:
    """Nobody listens: the address is named."""
    server.stop()
    with pytest.raises(HostError, match=f"can't reach 127.0.0.1:{server.port} .*refused"):
        shells.of(server.target()).run("true")


def test_a_host_that_is_silent_is_given_up(shells: Shells, server: Server) -> None:
    """A host that accepts and says nothing costs the connect timeout, no more."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        target = server.target(port=silent.getsockname()[1], connect_timeout_s=1)
        before = time.monotonic()
        with pytest.raises(HostError, match=r"h1: .*127\.0\.0\.1"):
            shells.of(target).run("true")
        assert time.monotonic() - before < 60


def test_closing_does_not_wait_for_a_host_that_is_silent(shells: Shells, server: Server) -> None:
    """Whoever was answered by another host goes on; the connection under way comes to nothing."""
    errors: list[HostError] = []
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        shell = shells.of(server.target(port=silent.getsockname()[1], connect_timeout_s=120))

        def run() -> None:
            with pytest.raises(HostError) as caught:
                shell.run("true")
            errors.append(caught.value)

        thread = threading.Thread(target=run)
        thread.start()
        connected, _ = silent.accept()
        before = time.monotonic()
        shell.close()
        assert time.monotonic() - before < 30
        connected.close()
    thread.join(60)
    assert len(errors) == 1


@pytest.mark.parametrize("interpreter", ["/absent/python3", "false"])
def test_no_python_is_one_sentence(interpreter: str, server: Server, shells: Shells) -> None:
    """An interpreter that isn't there, or fails, is named with the cure."""
    target = server.target(python_interpreter=interpreter)
    with pytest.raises(HostError, match=r"h1: (.* is not Python ≥ 3.11|the program that swarmops)"):
        gather(shells.of(target), target.place, NativeBackend.home)


def test_an_old_python_is_one_sentence(server: Server, shells: Shells, tmp_path: Path) -> None:
    """An interpreter that is too old says so itself, before it reads what it couldn't parse."""
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 97\n")
    old.chmod(0o755)
    target = server.target(python_interpreter=str(old))
    with pytest.raises(HostError, match=r"is not Python ≥ 3.11: set ansible_python_interpreter"):
        gather(shells.of(target), target.place, NativeBackend.home)


def test_a_lost_connection_is_opened_again(server: Server, shells: Shells) -> None:
    """After a loss the next command connects again."""
    shell = shells.of(server.target())
    assert shell.run("true").ok
    shell.close()
    assert shell.run("true").ok


@pytest.mark.slow
def test_sshd_that_turns_us_away_at_first_is_asked_again(tmp_path: Path, known: KnownHosts) -> None:
    """More hosts at once than MaxStartups admits all get through."""
    server = Server(tmp_path, extra="MaxStartups 2:100:2")
    server.start()
    try:
        with Shells(known) as shells:
            targets = [server.target(name=f"h{n}") for n in range(8)]
            shells.of(targets[0]).run("true")
            outcomes: list[bool] = []
            threads = [
                threading.Thread(target=lambda t=t: outcomes.append(shells.of(t).run("true").ok))
                for t in targets
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
            assert outcomes == [True] * 8
    finally:
        server.stop()


def test_a_password_never_shows(server: Server) -> None:
    """A target in a log or a message has no passwords."""
    target = server.target(password="hidden1", become_password="hidden2")
    assert "hidden" not in f"{target} {target!r}"


_SUDO = """#!/bin/sh
# As sudo with a password: reads up to three lines, and refuses what is wrong.
while [ "$1" != -- ]; do shift; done; shift
tries=0
while [ $tries -lt 3 ] && read -r given; do
    [ "$given" = right ] && exec "$@"
    tries=$((tries + 1))
    echo "$given" >> "${0%/bin/sudo}/tried"
    echo "Sorry, try again." >&2
done
echo "sudo: $tries incorrect password attempts" >&2
exit 1
"""


@pytest.fixture
def sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sudo that wants the password ``right``, first on the local PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sudo").write_text(_SUDO)
    (folder / "sudo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


@pytest.mark.usefixtures("sudo")
def test_sudo_gets_its_password_and_the_command_its_input(server: Server, shells: Shells) -> None:
    """The password goes to sudo, and never into the command's input or its arguments."""
    target = server.target(connection="local", become=True, become_password="right")
    script = "cat; tr '\\0' ' ' < /proc/$$/cmdline"
    result = shells.of(target).run(script, stdin=b"content|")
    assert result.stdout.startswith(b"content|")
    assert b"right" not in result.stdout
    assert result.stderr == b""


@pytest.mark.usefixtures("sudo")
def test_sudo_reaches_a_local_socket(server: Server, shells: Shells) -> None:
    """An operator who is not root may not, and has sudo for it, as on any other host."""
    path = str(server.folder / "node.sock")
    target = server.target(connection="local", become=True, become_password="right")
    with socket.socket(socket.AF_UNIX) as node:
        node.bind(path)
        node.listen()
        with contextlib.closing(shells.of(target).open_socket(path)) as near:
            far, _ = node.accept()
            with far:
                credentials = far.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                assert struct.unpack("3i", credentials)[0] != os.getpid()
                near.sendall(b"question")
                assert far.recv(100) == b"question"
                far.sendall(b"answer")
                assert near.recv(100) == b"answer"
                near.close()
                assert far.recv(100) == b""
    with pytest.raises(HostError, match=r"nothing serves \S+ \(Connection refused\): is the"):
        shells.of(target).open_socket(path)
    wrong = server.target(name="h2", connection="local", become=True, become_password="wrong")
    with pytest.raises(HostError, match=r"sudo refused .*incorrect.*check ansible_become_password"):
        shells.of(wrong).open_socket(path)


def test_a_local_command_that_may_not_be_killed_is_a_timeout_all_the_same(
    server: Server, shells: Shells, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an operator who is not root, sudo's commands are root's: they are not waited for."""
    groups: list[int] = []

    def refuse(group: int, number: int) -> None:
        del number
        groups.append(group)
        raise PermissionError

    with monkeypatch.context() as unprivileged:
        unprivileged.setattr(os, "killpg", refuse)
        with pytest.raises(HostTimeoutError, match=r"didn't finish within 0\.05 s"):
            shells.of(server.target(connection="local")).run("exec sleep 600", timeout_s=0.05)
    os.killpg(groups[0], signal.SIGKILL)


@pytest.mark.usefixtures("sudo")
def test_a_wrong_sudo_password_is_one_sentence(server: Server, shells: Shells) -> None:
    """Sudo's refusal is told apart from the command's own failure; it costs a single try."""
    target = server.target(connection="local", become=True, become_password="wrong")
    with pytest.raises(HostError, match=r"sudo refused .*incorrect.*check ansible_become_password"):
        shells.of(target).run("cat", stdin=b"one\ntwo\nthree\n")
    assert (server.folder / "tried").read_text() == "wrong\n"
    target = msgspec.structs.replace(target, name="h2", become_password="right")
    assert shells.of(target).run("exit 7").rc == 7


def test_a_login_shell_with_its_own_ideas_gets_quoted_text(server: Server, shells: Shells) -> None:
    """Scripts of several lines with quotes arrive as written."""
    script = "x='a \"b\" $c'\nprintf '%s' \"$x\"\n"
    assert shells.of(server.target()).run(script).stdout == b'a "b" $c'


def test_a_host_behind_others_is_reached_as_ssh_config_says(
    server: Server, shells: Shells, known: KnownHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ProxyJump over two hops works, and the key of every hop is checked."""
    hop = f"{server.target().user}@127.0.0.1:{server.port}"
    config = server.folder / ".ssh" / "config"
    config.parent.mkdir()
    config.write_text(
        f"Host inner\n HostName localhost\n Port {server.port}\n ProxyJump {hop},{hop}\n"
    )
    monkeypatch.setenv("HOME", str(server.folder))
    read_config.cache_clear()
    try:
        target = server.target(address="inner", port=None)
        assert shells.of(target).run("echo there").stdout == b"there\n"
    finally:
        read_config.cache_clear()
    names = {entry.patterns for entry in parse(known.own.read_text(), "")}
    assert names == {f"[localhost]:{server.port}", f"[127.0.0.1]:{server.port}"}
