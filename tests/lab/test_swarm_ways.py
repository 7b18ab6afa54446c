"""Ways to hosts that are not plain: through other hosts, with a password for sudo, no systemd.

One claim of three hosts for all tests; the host without systemd is a fourth, made for its test.
"""

import json
import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Iterator

import msgspec
import pytest

from tests.lab import hosts
from tests.lab.engine import docker
from tests.lab.hosts import Host, run_in
from tests.lab.lab import Lab
from tests.lab.recipe import OPERATOR_WITH_PASSWORD, SUDO_PASSWORD
from tests.lab.swarm import Swarm, answers, drawn, leftovers, processes, web
from tests.lab.waiting import wait_for

PLAYBOOK = {"swarm": {"managers": 1}, "services": {"web": web(3)}}


@pytest.fixture(scope="module")
def claimed(lab: Lab) -> Iterator[tuple[Host, ...]]:
    """Three hosts, bare at first."""
    with lab.claim(3, engine=False) as found:
        yield found


@pytest.fixture
def swarm(claimed: tuple[Host, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    """The hosts with an operator new to them; bare again afterwards."""
    made = drawn(claimed, tmp_path_factory, "ways")
    made.write(PLAYBOOK, managers=claimed[:1])
    yield made
    made.operator.run("destroy", "--yes", made.inventory)


def test_hosts_behind_two_others_are_reached_through_them(swarm: Swarm) -> None:
    """SSH to the second is open to the first only, to the third to the second only."""
    first, second, third = swarm.hosts
    for host, allowed in ((second, first), (third, second)):
        rule = f"-p tcp --dport 22 ! -s {allowed.address} -j REJECT"
        run_in(host, "sh", "-c", f"iptables -I INPUT {rule}")
    way = f"root@{first.address}"
    args = {second.name: f"-J {way}", third.name: f"-J {way},root@{second.address}"}
    text = swarm.inventory.read_text()
    for name, arg in args.items():
        text = text.replace(
            f"    {name}:\n      ansible_host",
            f"    {name}:\n      ansible_ssh_common_args: {arg}\n      ansible_host",
            1,
        )
    swarm.inventory.write_text(text)
    try:
        swarm.apply()
        swarm.settle()
        assert all(map(answers, swarm.urls()))
        assert "Nothing needs doing" in swarm.apply().out
        told = swarm.operator.run("ssh", third.name, "--", "hostname", rc=0)
        assert told.out.strip() == third.name
    finally:
        for host in (second, third):
            run_in(host, "iptables", "-D", "INPUT", "1")


def test_sudos_password_is_asked_for_once_and_never_shows(swarm: Swarm) -> None:
    """On a terminal, for all hosts; it is in no process list, no log and no output."""
    swarm.write(
        PLAYBOOK,
        managers=swarm.hosts[:1],
        user=OPERATOR_WITH_PASSWORD,
        variables={"ansible_become": True},
    )
    rc, said = on_a_terminal(swarm, "apply", "-K", str(swarm.inventory), answer=SUDO_PASSWORD)
    assert rc == 0, said
    assert said.count("sudo password:") == 1
    assert SUDO_PASSWORD not in said
    swarm.settle()
    logs = swarm.operator.home.glob("state/swarmops/logs/*.log")
    assert not any(SUDO_PASSWORD in log.read_text() for log in logs)
    swarm.write(PLAYBOOK, managers=swarm.hosts[:1])


def on_a_terminal(swarm: Swarm, *words: str, answer: str) -> tuple[int, str]:
    """Run the command on a terminal of its own and answer its question; return how it ended."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(swarm.operator.home)
        argv = [sys.executable, "-m", "swarmops", *words]
        os.execve(sys.executable, argv, {**swarm.operator.environment(), "TERM": "dumb"})
    said, answered, deadline = bytearray(), False, time.monotonic() + 120
    seen = set[str]()
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 0.2)[0]:
                seen |= command_lines(pid)
                continue
            try:
                part = os.read(terminal, 4096)
            except OSError:
                break
            if not part:
                break
            said += part
            if not answered and b"password:" in said:
                answered = True
                os.write(terminal, f"{answer}\n".encode())
    finally:
        os.close(terminal)
        ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:
            os.kill(pid, signal.SIGHUP)
            _, status = os.waitpid(pid, 0)
    assert not any(answer in line for line in seen)
    return os.waitstatus_to_exitcode(status), said.decode(errors="replace")


def command_lines(pid: int) -> set[str]:
    """Return the command line of a process."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 - short
            return {file.read().decode(errors="replace")}
    except OSError:
        return set()


@pytest.fixture
def plain(lab: Lab, claimed: tuple[Host, ...]) -> Iterator[Host]:
    """A fourth host, on which sshd is process 1 and there is no systemd."""
    near = claimed[0]
    address = re.sub(r"\d+$", "200", near.address)
    host = msgspec.structs.replace(
        near, name="plain", address=address, container=f"{near.container}-plain", engine=False
    )
    script = "mkdir -p /run/sshd && ssh-keygen -A && exec /usr/sbin/sshd -D -e"
    hosts.create(host, image=lab.image, command=("sh", "-c", script))
    try:
        wait_for(lambda: hosts.greets(address), "sshd on the plain host", within_s=30)
        yield host
    finally:
        hosts.remove(host)


def test_a_host_without_systemd_is_a_node_like_the_others(
    claimed: tuple[Host, ...], plain: Host, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It joins, runs tasks, comes back after its daemon was killed, and can be made bare again."""
    swarm = drawn((claimed[0], plain), tmp_path_factory, "plain")
    swarm.write({**PLAYBOOK, "services": {"web": web(2)}}, managers=claimed[:1])
    swarm.apply()
    swarm.settle()
    wait_for(lambda: "plain" in swarm.placed().values(), "a task on the plain host", within_s=20)
    before = processes([plain])
    daemon = supervised_pid(plain)
    with swarm.patient():
        run_in(plain, "kill", "-9", str(daemon))
        wait_for(lambda: supervised_pid(plain) not in {0, daemon}, "another there", within_s=20)
        swarm.settle()
        assert processes([plain]) >= before
    assert "Nothing needs doing" in swarm.apply().out
    reboot_plain(plain)
    swarm.apply()
    swarm.settle()
    swarm.operator.run("destroy", "--yes", swarm.inventory)
    assert "swarmops" not in run_in(plain, "ps", "-eo", "args").stdout.replace("plain", "")
    assert leftovers(claimed[0]) == ""


def supervised_pid(host: Host) -> int:
    """Return the process ID of a daemon that our own supervisor runs, 0 while there is none."""
    done = run_in(host, "cat", "/var/lib/swarmops/daemon.pid")
    return int(json.loads(done.stdout)["pid"]) if done.stdout.strip() else 0


def reboot_plain(host: Host) -> None:
    """Reboot a host that has no systemd to say when it is up."""
    docker("restart", "--time=1", host.container)
    wait_for(lambda: hosts.greets(host.address), "sshd after the reboot", within_s=30)
