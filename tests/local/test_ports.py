"""What published ports promise, on a real swarm of five nodes on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.local.addresses import node_address
from tests.local.conftest import Local, command_lines, wait_for

ADDRESSES = [node_address(n) for n in range(1, 6)]
PORT = 8088
SERVER = (
    "import os, socket\n"
    "server = socket.create_server((os.environ['SWARMOPS_NODE_ADDR'], int(os.environ['PORT'])))\n"
    "while True:\n"
    "    client, _ = server.accept()\n"
    "    client.sendall(f\"{os.environ['SWARMOPS_TASK_SLOT']}:{os.getpid()}\\n\".encode())\n"
    "    client.close()\n"
)
DATAGRAMS = (
    "import os, socket\n"
    "server = socket.socket(type=socket.SOCK_DGRAM)\n"
    "server.bind((os.environ['SWARMOPS_NODE_ADDR'], int(os.environ['PORT'])))\n"
    "while True:\n"
    "    asked, client = server.recvfrom(100)\n"
    "    said = f\"{os.environ['SWARMOPS_TASK_SLOT']}:{os.getpid()}\"\n"
    "    server.sendto(asked + said.encode(), client)\n"
)


def create(
    swarm: Local, name: str, publish: str, *more: str, replicas: int = 2, server: str = SERVER
) -> None:
    """Create a service of processes that say slot and process ID to each client."""
    script = swarm.folder / f"{name}.py"
    script.write_text(server)
    swarm.docker(
        "node1",
        "service",
        "create",
        "-d",
        "--no-resolve-image",
        f"--name={name}",
        f"--replicas={replicas}",
        f"--publish={publish}",
        "--restart-delay=1s",
        *more,
        "host",
        sys.executable,
        "-u",
        str(script),
    )


def ask(address: str, port: int = PORT) -> str:
    """Connect once; return what the task says, "" if there is none."""
    try:
        with socket.create_connection((address, port), timeout=2) as client:
            return client.makefile().read().strip()
    except OSError:
        return ""


def ask_by_datagram(client: socket.socket) -> str:
    """Ask as UDP clients do, again where no answer comes; return what the task says."""
    client.settimeout(0.5)

    def answer() -> str:
        begin = f"{time.monotonic_ns()} "
        with contextlib.suppress(OSError):
            client.send(begin.encode())
            said = client.recv(100).decode()
            return said.removeprefix(begin) if said.startswith(begin) else ""
        return ""

    return wait_for(answer, "an answer to a datagram")


def slots(count: int, addresses: list[str] = ADDRESSES) -> set[str]:
    """The slots that answer, of some connections to each address; {""} among them: some fail."""
    return {ask(address).partition(":")[0] for _ in range(count) for address in addresses}


def proxies(swarm: Local) -> dict[str, int]:
    """The proxies that run: command line → process."""
    return {
        command: pid
        for pid, command in command_lines()
        if "swarmops.agent.ingress" in command and str(swarm.folder) in command
    }


def test_every_node_answers_on_the_published_port_for_all_tasks(swarm: Local):
    """Managers and workers, drained ones and those without a task; each task gets its share."""
    create(swarm, "ports", f"{PORT}:80")
    wait_for(lambda: slots(4) == {"1", "2"}, "answers of both tasks on every node")
    for address in ADDRESSES:
        said = [ask(address).partition(":")[0] for _ in range(10)]
        assert sorted(said) == ["1"] * 5 + ["2"] * 5


def test_the_port_is_shown_as_docker_shows_it(swarm: Local):
    """In the list, in the endpoint; a port that was not named is chosen from Docker's range."""
    listed = swarm.docker("node2", "service", "ls", "--format", "{{.Name}} {{.Ports}}").stdout
    assert f"ports *:{PORT}->80/tcp" in listed
    create(swarm, "chosen", "80", replicas=0)

    def number() -> int:
        shown = swarm.docker("node3", "service", "inspect", "chosen").stdout
        ports = json.loads(shown)[0]["Endpoint"].get("Ports", [])
        return int(ports[0].get("PublishedPort", 0)) if ports else 0

    wait_for(number, "a port")
    assert number() == 30000
    swarm.docker("node1", "service", "rm", "chosen")


def test_a_port_that_is_taken_is_refused_in_dockers_words(swarm: Local):
    """By any manager."""
    refused = swarm.docker(
        "node2", "service", "create", "-d", f"--publish={PORT}:80", "host", "true", expect=1
    )
    assert f"port '{PORT}' is already in use by service 'ports'" in refused.stderr
    assert "as an ingress port" in refused.stderr


def test_when_a_task_is_killed_the_other_one_answers_every_client(swarm: Local):  # noqa: ARG001
    """Nobody waits for the swarm to notice: what refuses is skipped."""
    victim = wait_for(lambda: ask(ADDRESSES[4]), "an answer").partition(":")[2]
    os.kill(int(victim), signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{victim}").exists(), "the end of the process")
    answers = [ask(address) for _ in range(4) for address in ADDRESSES]
    assert all(answers), answers
    assert not any(said.endswith(f":{victim}") for said in answers)
    wait_for(lambda: slots(4) == {"1", "2"}, "both slots again")


def test_no_client_notices_an_update_that_replaces_every_task(swarm: Local):
    """A task that stops gets no new connections before it is told to stop.

    A client that goes on sending datagrams from one port hears of the tasks that are new.
    """
    port = PORT + 3
    create(swarm, "datagrams", f"{port}:80/udp", server=DATAGRAMS)
    clients = [socket.socket(type=socket.SOCK_DGRAM) for _ in ADDRESSES]
    for client, address in zip(clients, ADDRESSES, strict=True):
        client.connect((address, port))
    before = {ask_by_datagram(client) for client in clients}
    assert {said[:2] for said in before} <= {"1:", "2:"}
    updates = [update(swarm, name) for name in ("ports", "datagrams")]
    failed, asked = 0, 0
    end = time.monotonic() + 60
    while any(each.poll() is None for each in updates) and time.monotonic() < end:
        failed += sum(not ask(address) for address in ADDRESSES)
        asked += len(ADDRESSES)
        assert all(ask_by_datagram(client) for client in clients)
    assert [each.wait(timeout=60) for each in updates] == [0, 0]
    assert asked > 50
    assert failed == 0
    for client in clients:
        assert ask_by_datagram(client) not in before
        client.close()
    swarm.docker("node1", "service", "rm", "datagrams")


def update(swarm: Local, name: str) -> subprocess.Popen[bytes]:
    """Have every task of a service replaced, and return who waits for that."""
    host = f"unix://{swarm.socket('node1')}"
    command = ["docker", "-H", host, "service", "update", "--force", "--update-delay=1s"]
    command += ["--detach=false", "-q", name]
    return subprocess.Popen(command, env=swarm._environment)


def test_an_unhealthy_task_gets_no_new_connections_while_it_goes_on_accepting(swarm: Local):
    """It is out of every node's table before it gets its stop signal, which this one ignores."""
    port, mark = PORT + 2, swarm.folder / "sick"
    options = [
        f"--health-cmd=test ! -e {mark}.$SWARMOPS_TASK_SLOT",
        "--health-interval=200ms",
        "--health-retries=1",
        "--restart-condition=none",
        "--stop-signal=SIGURG",
        "--stop-grace-period=3s",
    ]
    create(swarm, "sick", f"{port}:80", *options)

    def answers() -> list[str]:
        return [ask(address, port) for address in ADDRESSES for _ in range(2)]

    wait_for(lambda: {said[:2] for said in answers()} == {"1:", "2:"}, "answers of both tasks")
    victim = next(said for said in answers() if said.startswith("1:"))
    Path(f"{mark}.1").touch()
    wait_for(lambda: victim not in answers(), "an end of the unhealthy task's answers")
    process, asked = Path(f"/proc/{victim[2:]}"), 0
    while process.exists():
        said = answers()
        assert victim not in said
        assert all(said)
        asked += 1
    assert asked > 5
    swarm.docker("node1", "service", "rm", "sick")


def test_a_task_more_gets_its_share_and_a_task_less_gets_nothing(swarm: Local):
    """Within moments of running, on every node."""
    swarm.docker("node1", "service", "scale", "-d", "ports=3")
    wait_for(lambda: slots(6) == {"1", "2", "3"}, "three tasks")
    swarm.docker("node1", "service", "scale", "-d", "ports=1")
    wait_for(lambda: slots(4) == {"1"}, "one task")


def test_a_restart_of_the_daemon_leaves_the_port_and_its_proxy_alone(swarm: Local):
    """Also one by kill -9; the new daemon finds the proxy and goes on telling it the table."""
    before = proxies(swarm)
    assert len(before) == 5
    os.kill(swarm.daemon_pid("node5"), signal.SIGKILL)
    assert slots(2, [ADDRESSES[4]]) == {"1"}
    wait_for(swarm.all_ready, "ready nodes")
    swarm.docker("node1", "service", "scale", "-d", "ports=2")
    wait_for(lambda: slots(4) == {"1", "2"}, "two tasks")
    assert proxies(swarm) == before


def test_a_proxy_that_dies_is_replaced(swarm: Local):
    """Within a second or two."""
    killed = next(pid for command, pid in proxies(swarm).items() if "/node4/" in command)
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: slots(2) == {"1", "2"}, "answers on every node")


def test_a_port_that_something_else_has_is_said_by_its_node_and_served_by_the_others(swarm: Local):
    """The node's status says so until the port is free."""

    def message() -> str:
        shown = swarm.docker("node1", "node", "inspect", "node5").stdout
        return str(json.loads(shown)[0]["Status"].get("Message", ""))

    with socket.create_server((ADDRESSES[4], PORT + 1)):
        create(swarm, "other", f"{PORT + 1}:80", replicas=1)
        wait_for(lambda: all(ask(a, PORT + 1) for a in ADDRESSES[:4]), "answers of the others")
        wait_for(lambda: f"{PORT + 1}/tcp" in message(), "the node's message")
        assert "Address already in use" in message()
    wait_for(lambda: ask(ADDRESSES[4], PORT + 1), "an answer")
    wait_for(lambda: not message(), "no message")
    swarm.docker("node1", "service", "rm", "other")


def test_removing_the_service_frees_the_port_and_ends_the_proxies(swarm: Local):
    """Nothing of it is left."""
    swarm.docker("node1", "service", "rm", "ports")

    def free() -> bool:
        try:
            for address in ADDRESSES:
                socket.create_server((address, PORT)).close()
        except OSError:
            return False
        return True

    wait_for(free, "free ports")
    wait_for(lambda: not proxies(swarm), "no proxy")
    assert not list(Path(swarm.folder).rglob("ingress.sock"))


def test_a_port_in_host_mode_is_the_tasks_own_and_shown_with_it(swarm: Local):
    """Each task listens on the port itself, so one a node; nobody passes anything on."""
    create(swarm, "own", f"published={PORT},target=80,mode=host", replicas=5)
    four = ADDRESSES[:4]  # node5 is drained
    wait_for(lambda: all(ask(address) for address in four), "an answer of each task")
    assert len({ask(address) for address in four}) == 4
    assert ask(ADDRESSES[4]) == ""
    assert not proxies(swarm)
    shown = swarm.docker(
        "node1", "service", "ps", "own", "--format", "{{.Ports}}|{{.Error}}"
    ).stdout
    assert shown.count(f"*:{PORT}->80/tcp") == 4
    full = swarm.docker(
        "node1", "service", "ps", "own", "--no-trunc", "--format", "{{.CurrentState}} {{.Error}}"
    ).stdout
    assert "host-mode port already in use on 4 nodes" in full
    swarm.docker("node1", "service", "rm", "own")
