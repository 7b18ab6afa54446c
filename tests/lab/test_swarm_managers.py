"""Managers come, go and are lost for good, and who writes to the swarm meanwhile doesn't notice.

The tests share one swarm of five hosts; any of them may be a manager.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.lab import faults
from tests.lab.hosts import Host
from tests.lab.lab import Lab
from tests.lab.swarm import Swarm, ask, formed, web
from tests.lab.waiting import wait_for
from tests.lab.writer import NOT_A_MANAGER, Write, Writer, writing

ELECTION_S = 1.5
"""A write may be tried again, with any manager, for so long after it began."""


@pytest.fixture(scope="module")
def swarm(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    """One manager and four workers, each of which may become one."""
    with formed(lab, tmp_path_factory, "managers", wanted(1), count=5, managers=5) as swarm:
        yield swarm


def wanted(managers: int, *, after: str = "", worker: str = "") -> dict[str, object]:
    """Return the playbook: so many managers, replaced `after` they were lost; `worker` is none."""
    swarm = {"managers": managers, **({"replace_dead_after": after} if after else {})}
    nodes = {worker: {"role": "worker"}} if worker else {}
    return {"swarm": swarm, "services": {"web": web(5)}, "nodes": nodes}


def grown(swarm: Swarm, writer: Writer, playbook: dict[str, object], managers: int) -> list[Write]:
    """Apply a playbook while the client writes; return the writes, until all managers took some."""
    since = len(writer.writes)
    swarm.play(playbook)
    swarm.apply()
    there = set(swarm.managers())
    assert len(there) == managers
    applied = len(writer.writes)
    wait_for(lambda: writer.through(applied) >= there, f"writes through {there}", within_s=10)
    return writer.writes[since:]


def test_nobody_who_writes_notices_that_managers_come_and_go(swarm: Swarm, tmp_path: Path) -> None:
    """One manager, three, five, and another one alone: no write fails, none accepted is lost.

    Where the leader stays not even a second try is needed; where it hands over, all are accepted
    within the time of an election.
    """
    first = swarm.leader().name
    with writing(swarm.hosts, tmp_path, ELECTION_S) as writer:
        for managers in (1, 3, 5):
            for write in grown(swarm, writer, wanted(managers), managers):
                assert not write.refused, write
        assert swarm.leader().name == first
        assert len(writer.through()) == 5
        moved = grown(swarm, writer, wanted(1, worker=first), 1)
        writes = writer.stop()
    assert [write for write in writes if not write.host] == []
    assert swarm.leader().name != first
    assert len(moved) > 1
    _, configs = ask(swarm.leader(), "GET", "/configs")
    kept = Counter(config["Spec"]["Name"] for config in configs)
    assert kept == Counter(write.name for write in writes)


def test_managers_lost_for_good_are_replaced(swarm: Swarm, tmp_path: Path) -> None:
    """The leader's power goes, then another manager's; both hosts, once back, are workers.

    Neither is given up before its time, but by `--replace-dead`, and by `replace_dead_after` once
    that time is over. The managers that are left take every write meanwhile.
    """
    swarm.play(wanted(3, after="1h"))
    swarm.apply()
    lost = [swarm.leader()]
    try:
        lose(swarm, lost[0])
        managers = set(swarm.managers())
        swarm.apply(rc=3)
        assert set(swarm.managers()) == managers
        left = [host for host in swarm.hosts if host not in lost]
        with writing(left, tmp_path, ELECTION_S) as writer:
            done = swarm.operator.run("apply", "--replace-dead", "--yes", swarm.inventory, rc=3)
            writes = writer.stop()
        (error,) = done.errors
        assert error.startswith(f"{lost[0].name}: ")
        assert [write for write in writes if write.refused or not write.host] == []
        replaced(swarm, lost, managers)

        lost.append(next(swarm[name] for name in swarm.managers() if swarm[name] != swarm.leader()))
        managers = set(swarm.managers())
        lose(swarm, lost[1])
        swarm.play(wanted(3, after="1s"))
        swarm.apply(rc=3)
        replaced(swarm, lost, managers)
    finally:
        faults.power_on(*lost)
    taken_back(swarm, lost)


def test_a_host_that_was_given_up_as_a_manager_can_be_one_again(swarm: Swarm) -> None:
    """Of what it was nothing is left that would keep it out."""
    swarm.play(wanted(5))
    swarm.apply()
    assert swarm.managers() == dict.fromkeys((host.name for host in swarm.hosts), "reachable")


def lose(swarm: Swarm, lost: Host) -> None:
    """Cut a manager's power and wait until the swarm hears of it no more."""
    faults.power_off(lost)
    wait_for(lambda: is_down(swarm, lost.name), "the lost one to be told down", within_s=20)


def is_down(swarm: Swarm, name: str) -> bool:
    """Say whether the swarm has given up hearing of a node, also as a manager."""
    return (
        swarm.nodes()[name]["Status"]["State"] == "down"
        and swarm.managers().get(name) == "unreachable"
    )


def replaced(swarm: Swarm, lost: Sequence[Host], managers: set[str]) -> None:
    """Assert that the managers that are left have one other among them, and no lost one."""
    now = swarm.managers()
    names = {host.name for host in lost}
    assert set(now.values()) == {"reachable"}
    assert len(now) == len(managers)
    assert set(now) > managers - names
    assert not set(now) & names
    assert {swarm.nodes()[name]["Spec"]["Role"] for name in names} == {"worker"}


def taken_back(swarm: Swarm, lost: Sequence[Host]) -> None:
    """Assert that hosts which were replaced are workers again, and nothing more is to be done."""
    swarm.apply()
    swarm.settle()
    assert len(swarm.all_nodes()) == len(swarm.hosts)
    for host in lost:
        assert swarm.nodes()[host.name]["Spec"]["Role"] == "worker"
        assert NOT_A_MANAGER in str(ask(host, "GET", "/nodes"))
    assert "Nothing needs doing" in swarm.apply().out
