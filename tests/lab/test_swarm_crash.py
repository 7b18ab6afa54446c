"""The tool dies, two of it run at once, a host dies under it: the next apply finishes the job.

One claim of three hosts for all tests. Each test begins with bare hosts: `destroy` makes them so.
"""

import re
import signal
from collections.abc import Iterator

import pytest

from tests.lab import faults
from tests.lab.hosts import Host
from tests.lab.lab import Lab
from tests.lab.swarm import Swarm, answers, ask, drawn, leftovers, web
from tests.lab.waiting import wait_for

PLAYBOOK = {"swarm": {"managers": 3}, "services": {"web": web(3)}}
PAIR = {"swarm": {"managers": 2}, "services": {"web": web(3)}}
STEPS = 9
"""Of PAIR: install, start and labels of two hosts; init, a join as manager, and the service."""
LOCK = "swarmops.lock"


@pytest.fixture(scope="module")
def claimed(lab: Lab) -> Iterator[tuple[Host, ...]]:
    """Three hosts, bare at first."""
    with lab.claim(3, engine=False) as found:
        yield found


@pytest.fixture
def swarm(claimed: tuple[Host, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    """The hosts, bare; bare again afterwards."""
    made = drawn(claimed, tmp_path_factory, "crash")
    made.write(PLAYBOOK)
    yield made
    made.operator.run("destroy", "--yes", made.inventory)


@pytest.fixture
def pair(claimed: tuple[Host, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    """Two of the hosts, both to be managers."""
    made = drawn(claimed[:2], tmp_path_factory, "pair")
    made.write(PAIR)
    yield made
    made.operator.run("destroy", "--yes", made.inventory)


def killed_at(swarm: Swarm, number: int) -> str:
    """Kill an apply with -9 as soon as its step of that number begins; return what it had said."""
    begun = []
    with swarm.operator.start("apply", "-v", "--yes", swarm.inventory) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.endswith(" …\n"):
                begun.append(line)
                if len(begun) > number:
                    process.send_signal(signal.SIGKILL)
                    break
        process.communicate()
        assert process.returncode in {0, -signal.SIGKILL}
    return "".join(begun)


def whole(swarm: Swarm, managers: int = 3) -> None:
    """Assert that all is as the playbook says, and nothing is left of any lock."""
    swarm.settle()
    assert len(swarm.managers()) == managers
    assert len(swarm.placed()) == 3
    assert all(map(answers, swarm.urls()))
    assert "Nothing needs doing" in swarm.apply().out
    assert not locked(swarm)


def locked(swarm: Swarm) -> str:
    """Return the swarm's lock, empty if it is free."""
    status, found = ask(swarm.leader(), "GET", "/swarm")
    assert status == 200
    return str((found["Spec"].get("Labels") or {}).get(LOCK, ""))


@pytest.mark.parametrize("number", range(STEPS))
def test_an_apply_killed_in_any_step_is_finished_by_the_next(pair: Swarm, number: int) -> None:
    """With -9, as the step begins: no lock holds the next one up, nothing is done twice."""
    said = killed_at(pair, number)
    assert said.count("…") == number + 1, said
    pair.apply()
    whole(pair, managers=2)


def test_of_two_applies_at_once_one_is_told_of_the_other(swarm: Swarm) -> None:
    """On bare hosts, and on a swarm; from another machine the lock holds as well."""
    pair = [swarm.operator.start("apply", swarm.inventory) for _ in range(2)]
    ended = sorted((one.wait(timeout=120), *one.communicate()) for one in pair)
    assert [code for code, *_ in ended] == [0, 4], ended
    assert re.search(r"the swarm is locked by \S+@\S+ since .* UTC .*: apply", ended[1][2])
    whole(swarm)


def test_a_host_lost_in_the_middle_is_named_and_the_others_finish(swarm: Swarm) -> None:
    """Its power goes as the swarm is made; it joins with a later apply."""
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
    whole(swarm)


def test_the_leader_is_taken_out_of_a_swarm_that_goes_on(swarm: Swarm) -> None:
    """Its tasks move first, another leads, nothing is left on it; the next apply takes it back."""
    swarm.apply()
    swarm.settle()
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
    whole(swarm)
