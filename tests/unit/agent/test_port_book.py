"""Ports of process tasks: chosen free, told to the task, kept over a restart of the daemon."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable

import pytest

from swarmops.agent.executors.base import ExecutorContext, LogRequest, TaskError
from swarmops.agent.executors.port_book import FIRST, LAST, choose, environment, is_free
from swarmops.agent.executors.process import ProcessExecutor
from swarmops.agent.work import Work
from swarmops.model.service import PortConfig

MakeWork = Callable[..., Work]
WEB = PortConfig(protocol="tcp", target_port=80, published_port=30_080, publish_mode="ingress")
RNG = random.Random(1)
DNS = [PortConfig(protocol=each, target_port=53) for each in ("tcp", "udp")]


def always(protocol: str, port: int) -> bool:
    """Call every port free."""
    return bool(protocol and port)


def test_a_mesh_port_is_any_that_is_free():
    """Not the published one, which the mesh listens on itself, nor one of another task's."""
    asked: list[int] = []

    def third(protocol: str, port: int) -> bool:
        asked.append(port)
        return protocol == "tcp" and len(asked) == 3

    (port,) = choose([WEB], set(), third, RNG)
    assert port.published_port == asked[2]
    assert FIRST <= asked[2] <= LAST
    assert (port.publish_mode, port.target_port) == ("host", 80)


def test_a_host_port_is_the_published_one():
    """The user chose it."""
    (port,) = choose(
        [PortConfig(target_port=80, published_port=8080, publish_mode="host")], set(), always, RNG
    )
    assert port.published_port == 8080


def test_one_target_has_one_number_in_all_protocols():
    """It must be free in each of them."""
    tcp, udp = choose(DNS, set(), always, RNG)
    assert tcp.published_port == udp.published_port
    with pytest.raises(TaskError, match="no port between"):
        choose(DNS, set(), lambda protocol, _: protocol == "tcp", RNG)
    with pytest.raises(TaskError, match="no port between"):
        choose([WEB], range(FIRST, LAST + 1), always, RNG)


def test_the_first_target_is_the_port():
    """PORT for programs that know one, PORT_<target> for all."""
    ports = [
        PortConfig(target_port=80, published_port=20_001),
        PortConfig(target_port=81, published_port=20_002),
    ]
    assert environment(ports) == {"PORT": "20001", "PORT_80": "20001", "PORT_81": "20002"}
    assert environment([]) == {}


def test_a_port_in_use_is_not_free():
    """Whatever address it is bound to."""
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        assert not is_free("tcp", used.getsockname()[1])


def test_connections_that_ended_lately_take_no_port():
    """The server crashed a moment ago, and is to be where it was."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            there, _ = server.accept()
            there.close()  # it says so first, and waits for what may still be on its way
            assert client.recv(1) == b""
    assert is_free("tcp", port)


async def test_a_process_is_told_its_ports(context: ExecutorContext, work: MakeWork):
    """A restarted daemon reports the same, and gives them to nobody else."""
    executor = ProcessExecutor(context)
    task = work(command=["sh", "-c", "echo $PORT $PORT_80"], ports=[WEB])
    await executor.prepare(task)
    successor = ProcessExecutor(context)
    await successor.prepare(task)
    await successor.start(task)
    await successor.wait(task)
    (port,) = (await successor.report(task)).ports
    lines = [line.data.decode() async for line in successor.logs(task, LogRequest())]
    assert lines == [f"{port.published_port} {port.published_port}"]
    assert successor._ports.choose(task) == [port]
    await successor.reattach([])
    for each in (executor, successor):
        await each.close()


async def test_a_task_that_is_attempted_again_gets_its_port_again(
    context: ExecutorContext, work: MakeWork
):
    """No manager answers then, and the other nodes pass connections on to where it was."""
    executor = ProcessExecutor(context)
    task, other = (work(command=["true"], ports=[WEB]) for _ in range(2))
    await executor.prepare(task)
    ports = (await executor.report(task)).ports
    await executor.remove(task)
    await executor.prepare(other)
    await executor.prepare(task)
    assert (await executor.report(task)).ports == ports
    assert (await executor.report(other)).ports != ports
    for each in (task, other):
        await executor.remove(each)
    await executor.close()
