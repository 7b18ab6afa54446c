"""Ways to a host and into it: keys, agents, passphrases, jumps, addresses, host key modes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fabric
import msgspec
import pytest

from swarmops.errors import HostError, InputError
from swarmops.fleet import connect
from swarmops.fleet.credentials import Credentials
from swarmops.fleet.gateways import way_of
from swarmops.fleet.known_hosts import KnownHosts
from swarmops.fleet.pool import run_on
from swarmops.fleet.shells import Shells
from swarmops.fleet.ssh_args import SshArgs, parse_ssh_args
from swarmops.fleet.ssh_config import keepalive_s, quiet_max, read_config
from tests.unit.fleet_io.conftest import Server


def locked_key(server: Server, passphrase: str) -> str:
    """Give the user's key a passphrase; return its path."""
    path = str(server.folder / "user_key")
    subprocess.run(
        ["ssh-keygen", "-q", "-a", "1", "-p", "-f", path, "-P", "", "-N", passphrase], check=True
    )
    return path


def test_a_passphrase_is_asked_for_once(server: Server, known: KnownHosts) -> None:
    """Twenty hosts that need the same key make one question."""
    key = locked_key(server, "open sesame")
    asked: list[str] = []

    def ask(text: str) -> str:
        asked.append(text)
        return "open sesame"

    with Shells(known, Credentials(ask)) as shells, ThreadPoolExecutor(5) as pool:
        targets = [server.target(name=f"h{n}") for n in range(5)]
        said = pool.map(lambda target: shells.of(target).run("echo in").stdout, targets)
        assert list(said) == [b"in\n"] * 5
    assert asked == [f"Passphrase of {key}: "]


@pytest.mark.parametrize("answer", ["wrong", ""])
def test_a_wrong_passphrase_is_one_sentence(
    server: Server, known: KnownHosts, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to do about it; neither it nor the host is asked again and again."""
    monkeypatch.setattr(connect, "_DROPS_MAX", 10**6)
    locked_key(server, "open sesame")
    with Shells(known, Credentials(lambda _: answer)) as shells, pytest.raises(HostError) as caught:
        shells.of(server.target()).run("true")
    assert "passphrase" in str(caught.value)
    assert "ssh-add" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage\n",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
    ],
)
def test_a_file_that_has_no_key_is_named_at_once(
    server: Server, shells: Shells, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sshd is not asked again and again about it."""
    monkeypatch.setattr(connect, "_DROPS_MAX", 10**6)
    file = server.folder / "damaged"
    file.write_text(text)
    with pytest.raises(HostError, match=r"no private key can be read from .*/damaged .*Identity"):
        shells.of(server.target(private_key_files=(str(file),))).run("true")


def test_the_second_of_several_keys_may_be_the_right_one(server: Server, shells: Shells) -> None:
    """Keys are tried in the order given."""
    other = str(server.new_key("other_key"))
    keys = (other, str(server.folder / "user_key"))
    assert shells.of(server.target(private_key_files=keys)).run("true").ok


@pytest.mark.parametrize(
    ("said", "mode", "accepted"),
    [
        ("", None, True),
        ("StrictHostKeyChecking yes", None, False),
        ("StrictHostKeyChecking no", None, True),
        ("StrictHostKeyChecking accept-new", None, True),
        ("StrictHostKeyChecking ask", None, False),
        ("StrictHostKeyChecking yes", "accept-new", True),
        ("StrictHostKeyChecking no", "yes", False),
    ],
)
def test_ssh_config_says_how_strict_to_be(
    server: Server,
    shells: Shells,
    ssh_config: Callable[[str], None],
    said: str,
    mode: str | None,
    *,
    accepted: bool,
) -> None:
    """An unknown host is met by ssh_config's mode, unless the inventory has one of its own."""
    ssh_config(f"Host *\n {said}\n" if said else "")
    shell = shells.of(server.target(host_key_checking=mode))
    if accepted:
        assert shell.run("true").ok
        return
    with pytest.raises(HostError, match="is not known and host_key_checking is"):
        shell.run("true")


@pytest.mark.parametrize(("answer", "accepted"), [("yes", True), ("no", False)])
def test_a_person_may_be_asked_about_a_key(
    server: Server, known: KnownHosts, answer: str, *, accepted: bool
) -> None:
    """With the fingerprint to compare; the answer is remembered."""
    asked: list[str] = []

    def ask(text: str) -> str:
        asked.append(text)
        return answer

    with Shells(known, Credentials(ask)) as shells:
        shell = shells.of(server.target(host_key_checking="ask"))
        if accepted:
            assert shell.run("true").ok
        else:
            with pytest.raises(HostError):
                shell.run("true")
    assert len(asked) == 1
    assert "SHA256:" in asked[0]
    assert bool(known.entries(f"[127.0.0.1]:{server.port}")) is accepted


def test_a_changed_key_passes_only_where_nothing_is_checked(
    server: Server, known: KnownHosts
) -> None:
    """As with ssh's StrictHostKeyChecking=no."""
    with Shells(known) as shells:
        assert shells.of(server.target()).run("true").ok
    server.stop()
    server.new_key("host_key")
    server.start()
    with Shells(known) as shells:
        with pytest.raises(HostError, match="its host key has changed"):
            shells.of(server.target()).run("true")
        assert shells.of(server.target(name="h2", host_key_checking="no")).run("true").ok


def test_the_users_own_known_hosts_file_counts(
    server: Server, shells: Shells, ssh_config: Callable[[str], None]
) -> None:
    """Where ssh_config names another one, also under another name of the host."""
    words = (server.folder / "host_key.pub").read_text().split()
    (server.folder / "mine").write_text(f"the-host {words[0]} {words[1]}\n")
    ssh_config(
        f"Host *\n UserKnownHostsFile {server.folder}/mine\n HostKeyAlias the-host\n"
        " StrictHostKeyChecking yes\n"
    )
    assert shells.of(server.target()).run("true").ok


def test_the_inventorys_options_come_before_ssh_configs(
    server: Server, shells: Shells, ssh_config: Callable[[str], None]
) -> None:
    """For the host alone: its known hosts, its name there, and how often it is asked for life."""
    words = (server.folder / "host_key.pub").read_text().split()
    (server.folder / "mine").write_text(f"the-host {words[0]} {words[1]}\n")
    ssh_config("Host *\n HostKeyAlias another\n ServerAliveInterval 60\n ServerAliveCountMax 9\n")
    said = f"-o UserKnownHostsFile={server.folder}/mine -o HostKeyAlias=the-host"
    options = parse_ssh_args(f"{said} -o ServerAliveInterval=7 -o ServerAliveCountMax=5").options
    target = server.target(host_key_checking="yes", ssh_options=options)
    assert shells.of(target).run("true").ok
    ways = connect.Ways(KnownHosts(), Credentials())
    hop = connect._make_connection(target, ways, {})
    assert (keepalive_s(hop), quiet_max(hop)) == (7, 5)
    beside = server.target(address="localhost", ssh_options=())
    assert keepalive_s(connect._make_connection(beside, ways, {})) == 60


def test_a_host_that_is_not_to_be_remembered_is_met_each_time(
    server: Server, known: KnownHosts, ssh_config: Callable[[str], None]
) -> None:
    """UserKnownHostsFile=/dev/null, as for machines that come and go at one address."""
    ssh_config("")
    options = parse_ssh_args("-o UserKnownHostsFile=/dev/null").options
    name = f"[127.0.0.1]:{server.port}"
    with Shells(known) as shells:
        assert shells.of(server.target(ssh_options=options)).run("true").ok
        assert known.entries(name) == []
        assert shells.of(server.target(name="h2")).run("true").ok
    assert len(known.entries(name)) == 1
    server.stop()
    server.new_key("host_key")
    server.start()
    with Shells(known) as shells:
        assert shells.of(server.target(ssh_options=options)).run("true").ok


def test_another_ssh_config_is_read_instead(
    server: Server, shells: Shells, ssh_config: Callable[[str], None]
) -> None:
    """What -F names; a file that is not there is said."""
    ssh_config("Host web\n HostName 127.0.0.1\n Port 1\n")
    (server.folder / "web.cfg").write_text(f"Host web\n HostName 127.0.0.1\n Port {server.port}\n")
    there = server.target(address="web", port=None, ssh_config=f"{server.folder}/web.cfg")
    assert shells.of(there).run("true").ok
    gone = server.target(name="h2", ssh_config="gone.cfg")
    with pytest.raises(HostError, match=r"no file gone.cfg: see -F in ansible_ssh_common_args"):
        shells.of(gone).run("true")


@pytest.mark.parametrize("hops", [1, 2])
def test_hosts_behind_a_bastion_share_one_connection_to_it(
    server: Server, shells: Shells, ssh_config: Callable[[str], None], hops: int
) -> None:
    """Ten hosts through the same hops: sshd sees each hop once."""
    ssh_config("")
    hop = f"{server.target().user}@127.0.0.1:{server.port}"
    far = f"{server.target().user}@localhost:{server.port}"
    jump = ",".join([hop, far][:hops])
    start = threading.Barrier(10)

    def visit(number: int) -> bytes:
        target = server.target(name=f"h{number}", address="127.0.0.1", jump=jump)
        start.wait(60)
        return shells.of(target).run("echo in").stdout

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(visit, range(10))) == [b"in\n"] * 10
    log = (server.folder / "sshd.log").read_text()
    assert log.count("Accepted publickey") == 10 + hops


def test_a_host_that_its_bastion_cannot_reach_is_named(
    server: Server, shells: Shells, ssh_config: Callable[[str], None]
) -> None:
    """With the way on which it was tried."""
    ssh_config("")
    hop = f"127.0.0.1:{server.port}"
    target = server.target(address="127.0.0.9", jump=f"{server.target().user}@{hop}")
    with pytest.raises(HostError, match=f"can't reach 127.0.0.9:{server.port} through {hop}"):
        shells.of(target).run("true")


@pytest.mark.slow
def test_a_hundred_hosts_at_once(
    server: Server, shells: Shells, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All get in, one socket each, and no more begin at a time than an sshd lets through."""
    targets = [server.target(name=f"h{number}") for number in range(100)]
    opening, at_once, open_ = set[int](), [0], fabric.Connection.open

    def watched(hop: fabric.Connection) -> object:
        opening.add(id(hop))
        at_once.append(len(opening))
        try:
            return open_(hop)
        finally:
            opening.discard(id(hop))

    monkeypatch.setattr(fabric.Connection, "open", watched)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only counted
    # One machine does both ends of all hundred handshakes here.
    outcome = run_on(
        targets, lambda target: shells.of(target).run("echo in", timeout_s=300).stdout, forks=100
    )
    assert outcome.errors == {}
    assert set(outcome.results.values()) == {b"in\n"}
    assert len(os.listdir("/proc/self/fd")) - before <= 110  # noqa: PTH208 - the same
    assert max(at_once) <= 8


def test_threads_that_connect_at_once_share_no_config(server: Server, known: KnownHosts) -> None:
    """Fabric empties a connection's config for a moment: another host's may not be read then."""
    before_s = sys.getswitchinterval()
    ways = connect.Ways(known, Credentials())
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            targets = [server.target(name=f"h{n}") for n in range(40)]
            made = pool.map(lambda target: connect._make_connection(target, ways, {}), targets)
            assert {connection.port for connection in made} == {server.port}
    finally:
        sys.setswitchinterval(before_s)
        ways.gateways.close()


def test_the_limit_of_open_files_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """To what the system allows, so that a thousand connections fit."""
    asked: list[object] = []
    monkeypatch.setattr("resource.getrlimit", lambda _: (256, 4096))
    monkeypatch.setattr("resource.setrlimit", lambda *words: asked.append(words[1]))
    connect.raise_file_limit()
    assert asked == [(4096, 4096)]


def test_ipv6(tmp_path: Path, shells: Shells) -> None:
    """A host's address may be one of IPv6."""
    server = Server(tmp_path, "ListenAddress ::1")
    server.start()
    try:
        assert shells.of(server.target(address="::1")).run("echo six").stdout == b"six\n"
    finally:
        server.stop()


def test_a_host_that_is_booting_is_tried_again(server: Server, shells: Shells) -> None:
    """As often as the inventory says, and no more."""
    server.stop()
    with pytest.raises(HostError, match="is it on"):
        shells.of(server.target()).run("true")
    start = threading.Timer(0.5, server.start)
    start.start()
    try:
        assert shells.of(server.target(name="h2", connect_retries=4)).run("true").ok
    finally:
        start.join()


def hangs_up(text: str) -> str:
    """End the input instead of an answer, as Ctrl-D does."""
    raise EOFError(text)


def test_passwords_that_were_asked_for(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    """They are for the hosts that have none of their own."""
    credentials = Credentials(lambda text: f"to {text.strip()}")
    credentials.ask_password()
    credentials.ask_become_password()
    target = credentials.complete(server.target(password="own"))
    assert (target.password, target.become_password) == ("own", "to sudo password:")
    with pytest.raises(InputError, match="nobody is here to answer"):
        Credentials(hangs_up).ask_password()
    assert not Credentials(hangs_up).confirmed("sure?")
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        with pytest.raises(InputError, match="nobody is here to answer"):
            Credentials().ask_password()


@pytest.mark.parametrize(
    ("config", "inventory", "seconds"),
    [("", None, 10), ("ConnectTimeout 60", None, 60), ("ConnectTimeout 60", 7, 7)],
)
def test_how_long_a_host_may_be_silent(
    ssh_config: Callable[[str], None],
    server: Server,
    config: str,
    inventory: int | None,
    seconds: int,
) -> None:
    """The inventory's word is stronger than ssh_config's, and that than ours."""
    ssh_config(config)
    target = server.target(connect_timeout_s=inventory)
    connection = connect._make_connection(target, connect.Ways(KnownHosts(), Credentials()), {})
    assert connection.connect_timeout == seconds
    assert connection.connect_kwargs["banner_timeout"] == seconds


def test_ssh_config_includes(
    ssh_config: Callable[[str], None], tmp_path: Path, server: Server, known: KnownHosts
) -> None:
    """By globs and relative to ~/.ssh; what a file begins ends with it, also one in itself."""
    folder = tmp_path / ".ssh" / "conf.d"
    folder.mkdir()
    (folder / "1").write_text(f"Host web\n  HostName 127.0.0.1\n  Port {server.port}\n")
    (folder / "2").write_text("Include conf.d/2 nowhere\nHost other\n  User nobody\n")
    ssh_config('# ours\ninclude = conf.d/* \'un\nInclude "conf.d/*"\nConnectTimeout 7\n')
    found = read_config().base_ssh_config.lookup("web")
    assert found["connecttimeout"] == "7"
    assert "user" not in found
    with Shells(known) as shells:
        target = server.target(address="web", port=None)
        assert shells.of(target).run("echo in").stdout == b"in\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", SshArgs()),
        ("-J ops@b1,b2:2222", SshArgs(jump="ops@b1,b2:2222")),
        ("-o ProxyJump=b1 -C -q", SshArgs(jump="b1", ignored=("-C",))),
        ("-o ConnectTimeout=60", SshArgs(connect_timeout_s=60)),
        ('-oProxyCommand="ssh -W %h:%p b1"', SshArgs(proxy_command="ssh -W %h:%p b1")),
        ("-o 'StrictHostKeyChecking no'", SshArgs(host_key_checking="no")),
        ("-i a -i b -p 2222 -l ops", SshArgs(keys=("a", "b"), port=2222, user="ops")),
        (
            "-o ControlMaster=auto -o ControlPersist=60s -o Ciphers=a -oCiphers=b -A -L 1:h:2 -i k",
            SshArgs(keys=("k",), ignored=("-o Ciphers", "-A", "-L")),
        ),
        ("-J none", SshArgs(proxy_command="none")),
        ("-F a.cfg -F b.cfg", SshArgs(config="a.cfg")),
        ("-o ServerAliveInterval=5", SshArgs(options=(("serveraliveinterval", "5"),))),
        (
            "-o 'UserKnownHostsFile a  b' -oHostKeyAlias=c",
            SshArgs(options=(("hostkeyalias", "c"), ("userknownhostsfile", "a b"))),
        ),
    ],
)
def test_ansibles_ssh_args(text: str, found: SshArgs) -> None:
    """What swarmops has too is taken, the rest is left alone."""
    assert parse_ssh_args(text) == found


@pytest.mark.parametrize(
    ("config", "args", "way"),
    [
        ("ProxyJump ops@b1:2201,[::1]:2202", "", [("ops", "b1", 2201), ("me", "::1", 2202)]),
        ("", "-J ssh://ops@[::1]:2201,b2", [("ops", "::1", 2201), ("me", "b2", 22)]),
        ("Host b1\n ProxyJump NONE\nHost *\n ProxyJump b1", "", [("me", "b1", 22)]),
        ("ProxyJump b1", "-J none", []),
        ("ProxyJump b1", "-o ProxyCommand=none", []),
        ("ProxyCommand true", "-J b2", [("me", "b2", 22)]),
    ],
    ids=["config", "inventory", "none-in-config", "jump-none", "proxy-none", "inventory-first"],
)
def test_hosts_on_the_way_are_visited_as_ssh_does(
    ssh_config: Callable[[str], None],
    server: Server,
    config: str,
    args: str,
    way: list[tuple[str, str, int]],
) -> None:
    """In the order that is written, in every form that ssh knows, and not at all for none."""
    ssh_config(f"{config}\nHost *\n User me\n")
    said = parse_ssh_args(args)
    target = server.target(address="web", jump=said.jump, proxy_command=said.proxy_command)
    connection = connect._make_connection(target, connect.Ways(KnownHosts(), Credentials()), {})
    gateway = connection.gateway
    assert (list(way_of(gateway)) if gateway else []) == way


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("Host web\n nonsense\n", r"\(Unparsable line nonsense\)"),
        ("CanonicalizeHostname yes\n", r"\('canonicaldomains'\)"),
        ("ProxyJump b1:port\n", r"\(invalid literal for int.*'port'\)"),
        ("UserKnownHostsFile ~nobody9/x\n", r"\(Could not determine home directory.\)"),
    ],
    ids=["line", "canonical", "port", "home"],
)
def test_an_ssh_config_that_cannot_be_used_is_one_sentence(
    shells: Shells, server: Server, ssh_config: Callable[[str], None], config: str, said: str
) -> None:
    """It was a traceback."""
    ssh_config(config)
    with pytest.raises(HostError, match=f"h1: its connection can't be prepared {said}: look at"):
        shells.of(server.target(address="web")).run("true")


_PROXY = """
import os, socket, sys, threading
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def up():
    while part := os.read(0, 65536):
        sock.sendall(part)
threading.Thread(target=up, daemon=True).start()
while part := sock.recv(65536):
    os.write(1, part)
"""


def test_a_command_as_proxy(
    server: Server, shells: Shells, ssh_config: Callable[[str], None]
) -> None:
    """ProxyCommand carries the connection."""
    ssh_config("")
    script = server.folder / "proxy.py"
    script.write_text(_PROXY)
    command = f"python3 {script} 127.0.0.1 %p"
    target = msgspec.structs.replace(server.target(address="elsewhere"), proxy_command=command)
    assert shells.of(target).run("echo in").stdout == b"in\n"
