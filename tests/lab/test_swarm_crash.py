"""Two applies at once, a host that dies under one, a leader taken out: the swarm is whole after.

One claim of three hosts for all tests. What becomes of an apply that is killed is in
test_swarm_killed.py.
"""

import contextlib
import re
from collections.abc import Iterator

import pytest

from tests.lab import faults
from tests.lab.lab import Lab
from tests.lab.ssh import ssh
from tests.lab.swarm import Swarm, drawn, leftovers, web
from tests.lab.waiting import wait_for
from tests.lab.whole import locked, whole

PLAYBOOK = {"swarm": {"managers": 3}, "services": {"web": web(3)}}


@pytest.fixture(scope="module")
def swarm(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    """Three hosts, bare at first."""
    with lab.claim(3, engine=False) as hosts:
        swarm = drawn(hosts, tmp_path_factory, "crash")
        swarm.write(PLAYBOOK)
        yield swarm


def test_of_two_applies_at_once_one_is_told_of_the_other(swarm: Swarm) -> None:
    """On bare hosts: one makes the swarm, the other does nothing and says who is at work."""
    pair = [swarm.operator.start("apply", swarm.inventory) for _ in range(2)]
    ended = sorted((one.wait(timeout=120), *one.communicate()) for one in pair)
    assert [code for code, *_ in ended] == [0, 4], ended
    assert re.search(r"the swarm is locked by \S+@\S+ since .* UTC .*: apply", ended[1][2])
    whole(swarm, managers=3)


def test_the_leader_is_taken_out_of_a_swarm_that_goes_on(swarm: Swarm) -> None:
    """Its tasks move first, another leads, nothing is left on it; the next apply takes it back."""
    leader = swarm.leader()
    done = swarm.operator.run("destroy", "--yes", "--limit", leader.name, swarm.inventory)
    assert f"{leader.name}: moving its tasks" in done.err
    others = [host for host in swarm.hosts if host is not leader]
    assert set(swarm.nodes(others[0])) == {host.name for host in others}
    assert len(swarm.managers()) == 2
    assert leftovers(leader) == ""
    wait_for(lambda: len(swarm.placed()) == 3, "three tasks on two hosts", within_s=30)
    assert not locked(swarm)
    swarm.apply()
    whole(swarm, managers=3)


def test_a_host_lost_in_the_middle_is_named_and_the_others_finish(swarm: Swarm) -> None:
    """Its power goes as the swarm is made anew, after a destroy; it joins with a later apply."""
    swarm.operator.run("destroy", "--yes", swarm.inventory)
    lost = swarm["host3"]
    try:
        with swarm.operator.start("apply", swarm.inventory) as process:
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                said.append(line)
                if "making the swarm: done" in line:
                    faults.power_off(lost)
                    break
            out, err = process.communicate(timeout=150)
        told = "".join(said) + out + err
        assert process.returncode == 3, told
        assert re.search(r"Error: host3: |not so in time: host3", told), told
        nodes = swarm.nodes()
        assert {n for n, node in nodes.items() if node["Status"]["State"] == "ready"} >= {
            "host1",
            "host2",
        }
    finally:
        faults.power_on(lost)
    swarm.apply(rc=None)
    swarm.apply()
    whole(swarm, managers=3)


def test_a_command_on_a_host_that_loses_its_power_ends_with_it(swarm: Swarm) -> None:
    """In a sentence, once nothing that is sent there has been taken note of for long enough."""
    lost = swarm["host3"]
    argv = ("exec", "--timeout", "600", "-i", swarm.inventory, "host3", "--", "sleep", "600")
    swarm.write(PLAYBOOK, variables={"ansible_ssh_common_args": "-o ServerAliveInterval=2"})
    try:
        with swarm.operator.start(*argv) as process, contextlib.ExitStack() as whatever_comes:
            whatever_comes.callback(process.kill)
            wait_for(lambda: "sleep 600" in ssh(lost, "ps ax").stdout, "it to run", within_s=30)
            faults.power_off(lost)
            _, err = process.communicate(timeout=60)
        assert process.returncode == 3, err
        assert "host3: Error: the SSH connection was lost" in err
    finally:
        swarm.write(PLAYBOOK)
        faults.power_on(lost)
    swarm.apply()
    whole(swarm, managers=3)
