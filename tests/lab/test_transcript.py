"""The docker CLI prints the same on our swarm and on a real Docker swarm, and exits the same.

Every command and flag that it has for swarm mode, in one order, with this machine's CLI and with
the hosts' own (Debian's 20.10). `transcript/script` has the commands, `transcript/differences.py`
what remains different and why.
"""

import re
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from shutil import which
from typing import NamedTuple

import pytest

from swarmops.pki.root import new_root
from tests.lab.engine import docker_argv
from tests.lab.hosts import Host
from tests.lab.lab import Lab
from tests.lab.oracle.side import Kind, Side
from tests.lab.ssh import ssh, ssh_argv
from tests.lab.swarm import SOCKET, UNIT, drawn
from tests.lab.task_image import import_busybox
from tests.lab.transcript.differences import EXPECTED, LEFT_OUT, REFUSED
from tests.lab.transcript.play import Player, Printed
from tests.lab.transcript.steps import ALONE, GROUPS, Step, read
from tests.lab.waiting import wait_for

pytestmark = pytest.mark.docker_swarm
STEPS = read()
COMMANDS = [step for step in STEPS if step.is_command]
CLIS = ("28", "20.10")
SOCKETS: dict[Kind, str] = {"ours": SOCKET, "docker": "/run/docker.sock"}
UNITS: dict[Kind, str] = {"ours": UNIT, "docker": "docker"}


class Swarms(NamedTuple):
    """Manager and worker of both sides, and the CLIs by version."""

    ours: tuple[Side, Side]
    docker: tuple[Side, Side]
    clis: dict[str, Path]
    pki: Path


@pytest.fixture(scope="module")
def swarms(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarms]:
    """Four hosts, all in no swarm: our daemon runs on two, Docker Engine alone on two."""
    directory = tmp_path_factory.mktemp("transcript")
    with lab.claim(4) as hosts, ExitStack() as stack:
        import_busybox(hosts)
        swarm = drawn(hosts[:2], tmp_path_factory, "transcript-ours")
        swarm.write({"swarm": {"managers": 1}}, managers=hosts[:1], workers=hosts[:2])
        swarm.apply()
        own = directory / "docker-of-the-hosts"
        copy = docker_argv("cp", f"{hosts[0].container}:/usr/bin/docker", str(own))
        subprocess.run(copy, check=True, capture_output=True)
        newest = which("docker")
        assert newest
        for host in reversed(hosts[:2]):
            ssh(host, f"docker -H unix://{SOCKET} swarm leave --force")
        root = new_root(datetime.now(UTC))
        (directory / "cert.pem").write_text(root.cert_pem)
        (directory / "key.pem").write_text(root.key_pem)
        sides = {
            kind: tuple(
                stack.enter_context(_forwarded(kind, host, directory))
                for host in (hosts[:2] if kind == "ours" else hosts[2:])
            )
            for kind in SOCKETS
        }
        ours, docker = sides["ours"], sides["docker"]
        clis = {"28": Path(newest), "20.10": own}
        yield Swarms((ours[0], ours[1]), (docker[0], docker[1]), clis, directory)


@contextmanager
def _forwarded(kind: Kind, host: Host, directory: Path) -> Iterator[Side]:
    """Forward a node's socket to this machine."""
    at = directory / f"{kind}-{host.name}.sock"
    argv = ssh_argv(host)
    argv[1:1] = ["-nNT", "-o", "ExitOnForwardFailure=yes", "-L", f"{at}:{SOCKETS[kind]}"]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as tunnel:
        try:
            wait_for(at.exists, "the forwarded socket", within_s=20)
            yield Side(kind, [host], at)
        finally:
            tunnel.terminate()


Transcript = dict[Kind, dict[int, Printed]]


@pytest.fixture(scope="module")
def transcripts(swarms: Swarms) -> dict[str, Transcript]:
    """What every command printed, by CLI and side; both sides at once."""
    with ThreadPoolExecutor(2) as pool:
        return {version: _both(pool, swarms, version) for version in CLIS}


def _both(pool: ThreadPoolExecutor, swarms: Swarms, version: str) -> Transcript:
    cli, given = swarms.clis[version], {"pki": str(swarms.pki)}
    playing = [
        pool.submit(Player(cli, *nodes, UNITS[nodes[0].kind], given).play, STEPS)
        for nodes in (swarms.ours, swarms.docker)
    ]
    return {"ours": playing[0].result(), "docker": playing[1].result()}


@pytest.mark.parametrize("cli", CLIS)
@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.number}: {step.line}")
def test_a_command_prints_the_same(
    transcripts: dict[str, Transcript], step: Step, cli: str
) -> None:
    """Exit code, output and errors, with what is a swarm's own masked, but for what is listed."""
    both = transcripts[cli]
    ours, docker = (each.get(step.number) for each in (both["ours"], both["docker"]))
    if docker and step.line in EXPECTED:
        docker = EXPECTED[step.line].here(docker)
    assert ours == docker


def test_no_expected_difference_is_out_of_date(transcripts: dict[str, Transcript]) -> None:
    """What is listed as different is a command of the script and differs with one CLI at least."""
    steps = {step.line: step.number for step in COMMANDS}
    same = [
        line
        for line in EXPECTED
        if all(
            each["ours"][steps[line]] == each["docker"][steps[line]]
            for each in transcripts.values()
        )
    ]
    assert not same


def test_every_difference_has_its_reason_in_the_docs() -> None:
    """docs/differences.md says what `transcript/differences.py` says."""
    text = (Path(__file__).parents[2] / "docs" / "differences.md").read_text().lower()
    told = " ".join(text.split())
    assert [one.reason for one in EXPECTED.values() if one.reason.lower() not in told] == []


def test_every_command_and_flag_is_in_the_script() -> None:
    """What `docker GROUP COMMAND --help` shows is used in some line of the script."""
    used: dict[str, set[str]] = {}
    for step in COMMANDS:
        words = {word.partition("=")[0] for word in step.words if word.startswith("-")}
        used.setdefault(step.command, set()).update(words)
    wanted = {command: _flags(command.split()) for command in _commands()}
    absent = {
        f"{command} {flag}".strip()
        for command, flags in wanted.items()
        for flag in ["", *flags]
        if command not in used or (flag and flag not in used[command])
    }
    assert absent == set(LEFT_OUT)


def test_what_docker_never_does_is_listed_with_what_it_says(
    transcripts: dict[str, Transcript],
) -> None:
    """Else a flag might stand in the script and reach no server."""
    done, told = set(), dict[str, str]()
    for step in COMMANDS:
        flags = {word.partition("=")[0] for word in step.words if word.startswith("--")}
        printed = [each["docker"][step.number] for each in transcripts.values()]
        for flag in flags:
            name = f"{step.command} {flag}"
            if any(one.rc == 0 for one in printed):
                done.add(name)
            told[name] = told.get(name, "") + "".join(one.err for one in printed)
    assert set(told) - done == set(REFUSED)
    assert [name for name, why in REFUSED.items() if why not in told[name]] == []


def _commands() -> list[str]:
    """Return the commands of swarm mode that the CLI shows."""
    found = list(ALONE)
    for group in GROUPS:
        shown = _help([group]).partition("\nCommands:\n")[2].partition("\n\n")[0]
        found += [f"{group} {line.split()[0]}" for line in shown.splitlines()]
    return found


def _flags(words: Sequence[str]) -> list[str]:
    """Return the long flags of a command."""
    return re.findall(r"(?m)^ {2,6}(?:-\w, )?(--[\w-]+)", _help(words))


def _help(words: Sequence[str]) -> str:
    argv = ["docker", "-H", "unix:///nonexistent.sock", *words, "--help"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
