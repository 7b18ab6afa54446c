"""Keys that an ssh-agent has: of the environment's agent or of ssh_config's, all or some."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from swarmops.errors import HostError
from swarmops.fleet import connect
from swarmops.fleet.credentials import Credentials
from swarmops.fleet.known_hosts import KnownHosts
from swarmops.fleet.shells import Shells
from swarmops.fleet.ssh_args import parse_ssh_args
from tests.unit.fleet_io.conftest import Server


class Agent:
    """A real ssh-agent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process = subprocess.Popen(
            ["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def add(self, *keys: Path) -> None:
        """Give it private keys."""
        subprocess.run(
            ["ssh-add", "-q", *map(str, keys)],
            env={"SSH_AUTH_SOCK": str(self.path), "PATH": "/usr/bin:/bin"},
            check=True,
        )

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


@pytest.fixture
def agent(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    """An agent without keys that nobody has been told of; the environment has none."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    found = Agent(server.folder / "an agent.sock")
    yield found
    found.stop()


@pytest.fixture
def told_agent(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> Agent:
    """The same, and the environment names it."""
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent.path))
    return agent


def key_of(server: Server) -> Path:
    """Return the key that the server lets in."""
    return server.folder / "user_key"


def given_away(server: Server, agent: Agent) -> Path:
    """Leave the right key to the agent alone; return its public half."""
    agent.add(key_of(server))
    key_of(server).unlink()
    return key_of(server).with_suffix(".pub")


def locked_key(server: Server, passphrase: str, agent: Agent) -> Path:
    """Tell the agent the right key, and lock its file; return that."""
    agent.add(key_of(server))
    lock = ["ssh-keygen", "-q", "-a", "1", "-p", "-P", "", "-N", passphrase]
    subprocess.run([*lock, "-f", str(key_of(server))], check=True)
    return key_of(server)


def enters(server: Server, known: KnownHosts, **target: object) -> bool:
    """Whether the host lets us in."""
    with Shells(known, Credentials()) as shells:
        shell = shells.of(server.target(**{"private_key_files": (), **target}))
        try:
            return shell.run("true").ok
        except HostError:
            return False


def test_the_agent_opens_many_hosts_at_once(
    server: Server,
    known: KnownHosts,
    told_agent: Agent,
) -> None:
    """Without any key file, from several threads."""
    given_away(server, told_agent)
    targets = [server.target(name=f"h{n}", private_key_files=()) for n in range(8)]
    with Shells(known) as shells, ThreadPoolExecutor(8) as pool:
        said = pool.map(lambda target: shells.of(target).run("echo in").stdout, targets)
        assert list(said) == [b"in\n"] * 8


@pytest.mark.parametrize(
    "named", ['"{path}"', "{path}", "$OTHER_AGENT", '"${{FOLDER}}/an agent.sock"']
)
def test_ssh_config_names_another_agent(  # noqa: PLR0917 - fixtures
    server: Server,
    known: KnownHosts,
    agent: Agent,
    ssh_config: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    named: str,
) -> None:
    """As password managers have it: the environment's agent is not asked."""
    monkeypatch.setenv("OTHER_AGENT", str(agent.path))
    monkeypatch.setenv("FOLDER", str(server.folder))
    given_away(server, agent)
    assert not enters(server, known)
    ssh_config(f"Host *\n IdentityAgent {named.format(path=agent.path)}\n")
    assert enters(server, known)


def test_the_inventory_names_another_agent(server: Server, known: KnownHosts, agent: Agent) -> None:
    """In ssh's own words."""
    given_away(server, agent)
    options = parse_ssh_args(f"-o 'IdentityAgent={agent.path}'").options
    assert enters(server, known, ssh_options=options)


@pytest.mark.parametrize("named", ["none", "/nobody/listens"])
def test_no_agent_is_asked(
    server: Server,
    known: KnownHosts,
    told_agent: Agent,
    ssh_config: Callable[[str], None],
    named: str,
) -> None:
    """Where ssh_config says so, or the agent that it names is not there."""
    given_away(server, told_agent)
    assert enters(server, known)
    ssh_config(f"Host *\n IdentityAgent {named}\n")
    assert not enters(server, known)


def test_of_the_agents_keys_only_those_of_the_host_are_offered(
    server: Server,
    known: KnownHosts,
    told_agent: Agent,
    ssh_config: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """IdentitiesOnly, and a file that has only the public half; sshd counts what is offered."""
    server.stop()
    server.extra = "MaxAuthTries 3"
    server.start()
    told_agent.add(*[server.new_key(f"other{number}") for number in range(4)])
    public = given_away(server, told_agent)
    monkeypatch.setattr(connect, "_DROPS_MAX", 10**6)  # it is not asked again and again
    with Shells(known) as shells, pytest.raises(HostError, match=r"MaxAuthTries.*IdentitiesOnly"):
        shells.of(server.target(private_key_files=())).run("true")
    ssh_config(f"Host *\n IdentityFile {public}\n IdentitiesOnly yes\n")
    assert enters(server, known)
    assert enters(server, known, name="h2", private_key_files=(str(public),))


@pytest.mark.parametrize("name", ["user_key", "alone"])
def test_a_locked_key_is_the_agents_affair(
    server: Server,
    known: KnownHosts,
    told_agent: Agent,
    ssh_config: Callable[[str], None],
    name: str,
) -> None:
    """With IdentitiesOnly too, nobody is asked for a passphrase that the agent was told.

    The public half of a key is in clear in its own file, if it isn't in another one beside it.
    """
    key = locked_key(server, "open sesame", told_agent).rename(server.folder / name)
    ssh_config(f"Host *\n IdentityFile {key}\n IdentitiesOnly yes\n")
    assert enters(server, known)


def test_who_has_no_key_at_all_is_told_so_at_once(
    server: Server, shells: Shells, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to do about it; sshd is not asked again and again."""
    monkeypatch.setattr(connect, "_DROPS_MAX", 10**6)
    given_away(server, agent)
    with pytest.raises(HostError, match=r"no key and no password for user .*ssh-add.*--ask-pass"):
        shells.of(server.target(private_key_files=())).run("true")


def test_keys_of_others_are_not_offered(
    server: Server,
    known: KnownHosts,
    told_agent: Agent,
    ssh_config: Callable[[str], None],
) -> None:
    """Though the agent has the right one: IdentitiesOnly means what it says."""
    given_away(server, told_agent)
    other = server.new_key("other")
    ssh_config(f"Host *\n IdentityFile {other}\n IdentitiesOnly yes\n")
    assert not enters(server, known)


def test_a_key_is_offered_once(
    server: Server,
    known: KnownHosts,
    told_agent: Agent,
    ssh_config: Callable[[str], None],
) -> None:
    """From its file or by the agent, not both: sshd takes six, and the right one comes last."""
    others = [server.new_key(f"other{number}") for number in range(4)]
    told_agent.add(*others)
    files = [*others, given_away(server, told_agent)]
    ssh_config("Host *\n IdentitiesOnly yes\n" + "".join(f" IdentityFile {f}\n" for f in files))
    assert enters(server, known)
    ssh_config("")
    assert enters(server, known, name="h2", private_key_files=tuple(map(str, others)))


def test_nobody_keeps_the_agent_busy(
    server: Server,
    known: KnownHosts,
    told_agent: Agent,
) -> None:
    """It answers some thousand at a time: who is in, or was refused, hangs up."""
    told_agent.add(server.new_key("other"))
    before = open_files()
    refused = [server.target(name=f"r{n}", private_key_files=()) for n in range(3)]
    with Shells(known) as shells:
        for target in refused:
            with pytest.raises(HostError, match="refused every key"):
                shells.of(target).run("true")
    assert open_files() == before
    told_agent.add(key_of(server))
    with Shells(known) as shells:
        for n in range(3):
            assert shells.of(server.target(name=f"h{n}", private_key_files=())).run("true").ok
        assert open_files() == before + 3


def open_files() -> int:
    """Count what this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_who_has_no_key_hears_what_ssh_config_says_of_agents(
    server: Server, shells: Shells, agent: Agent, ssh_config: Callable[[str], None]
) -> None:
    """Else they would add it to another agent."""
    given_away(server, agent)
    ssh_config("Host *\n IdentityAgent /nobody/listens\n")
    with pytest.raises(HostError, match=r"ssh_config says IdentityAgent /nobody/listens$"):
        shells.of(server.target(private_key_files=())).run("true")
