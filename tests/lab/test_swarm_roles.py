"""Promote, demote and drain, by command and by playbook, and what is refused.

The tests share one swarm of five hosts, three of them managers, and each leaves it so.
"""

from collections.abc import Iterator

import pytest

from tests.lab import faults
from tests.lab.lab import Lab
from tests.lab.swarm import Swarm, docker, formed, processes, web
from tests.lab.waiting import wait_for

MANAGERS = ["host1", "host2", "host3"]
PLAYBOOK = {"swarm": {"managers": 3}, "services": {"web": web(10)}}


@pytest.fixture(scope="module")
def swarm(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    """Three managers, two workers, ten tasks; any host may be a manager."""
    with formed(lab, tmp_path_factory, "roles", PLAYBOOK, count=5, managers=5) as swarm:
        yield swarm


def wish(swarm: Swarm, **nodes: dict[str, str]) -> None:
    """Write into the playbook what it shall say of nodes."""
    swarm.play({**PLAYBOOK, "nodes": nodes})


def test_promote_and_demote_by_command_from_anywhere(swarm: Swarm) -> None:
    """No inventory argument; when the command returns it is so, on the node as well."""
    promoted = swarm.operator.run("node", "promote", "host4")
    assert "host4" in promoted.out
    assert swarm.managers() == dict.fromkeys([*MANAGERS, "host4"], "reachable")
    assert "host5" in docker(swarm["host4"], "node ls")
    before = processes(swarm.hosts)
    swarm.operator.run("node", "demote", "host4")
    assert sorted(swarm.managers()) == MANAGERS
    assert "not a swarm manager" in docker(swarm["host4"], "node ls", check=False)
    assert processes(swarm.hosts) == before


def test_a_one_off_that_contradicts_the_playbook_says_so(swarm: Swarm) -> None:
    """The playbook's path, the host and what the next apply will do are in the warning."""
    wish(swarm, host3={"role": "manager"})
    (warning,) = swarm.operator.run("node", "demote", "host3").warnings
    assert warning == (
        f"{swarm.playbook} wants host3 to be a manager: the next apply promotes it again"
    )
    swarm.apply()
    assert sorted(swarm.managers()) == MANAGERS


def test_promote_and_demote_by_playbook(swarm: Swarm) -> None:
    """Roles move with the playbook: host5 comes, host2 goes; plan says it before."""
    wish(swarm, host5={"role": "manager"}, host2={"role": "worker"})
    planned = swarm.operator.run("plan", rc=2).out
    assert "promote  host5" in planned
    assert "demote   host2" in planned
    swarm.apply()
    assert swarm.managers() == dict.fromkeys(["host1", "host3", "host5"], "reachable")
    wish(swarm, host2={"role": "manager"}, host5={"role": "worker"})
    swarm.apply()
    assert sorted(swarm.managers()) == MANAGERS


def test_the_leader_can_be_demoted(swarm: Swarm) -> None:
    """It hands over first; the command goes on through another manager."""
    leader = swarm.leader()
    swarm.operator.run("node", "demote", leader.name)
    assert leader.name not in swarm.managers()
    assert swarm.leader() != leader
    swarm.operator.run("node", "promote", leader.name)
    assert sorted(swarm.managers()) == MANAGERS


def test_drain_by_command_leaves_nothing_running_there(swarm: Swarm) -> None:
    """When `node drain` returns, the host is empty; `activate` lets tasks come again."""
    drained = swarm["host5"]
    assert processes([drained])
    swarm.operator.run("node", "drain", "host5")
    assert processes([drained]) == set()
    wait_for(lambda: len(swarm.placed()) == 10, "ten tasks elsewhere", within_s=20)
    swarm.operator.run("node", "activate", "host5")
    # Twice as many on five hosts: four on each, whichever of them had how many before.
    swarm.operator.run("service", "scale", "web=20")
    assert len(processes([drained])) == 4
    swarm.operator.run("service", "scale", "web=10")


def test_drain_by_playbook(swarm: Swarm) -> None:
    """The same from the file; a drain by hand that the file contradicts is said."""
    wish(swarm, host4={"availability": "drain"})
    swarm.apply()
    wait_for(lambda: not processes([swarm["host4"]]), "host4 empty", within_s=20)
    (warning,) = swarm.operator.run("node", "activate", "host4").warnings
    assert "wants host4 to be drain" in warning
    wish(swarm, host4={"availability": "active"})
    swarm.apply()
    assert swarm.nodes()["host4"]["Spec"]["Availability"] == "active"


def test_a_demotion_that_would_lose_the_quorum_is_refused(swarm: Swarm) -> None:
    """One of three is without power: demoting another would leave one of two. Docker's words."""
    others = [name for name in MANAGERS if name != swarm.leader().name]
    lost, asked = (swarm[name] for name in others)
    faults.power_off(lost)
    try:
        wait_for(lambda: swarm.managers().get(lost.name) == "unreachable", "one lost", within_s=15)
        (error,) = swarm.operator.run("node", "demote", asked.name, rc=1).errors
        assert "can't remove member from the raft: this would result in a loss of quorum" in error
        told = docker(swarm.leader(), f"node demote {asked.name}", check=False)
        assert "this would result in a loss of quorum" in told
        assert swarm.nodes()[asked.name]["Spec"]["Role"] == "manager"
    finally:
        faults.power_on(lost)
    swarm.settle()


def test_commands_do_not_wait_for_a_manager_without_power(swarm: Swarm) -> None:
    """The host that is asked first is off: another answers, and its connection holds up nobody."""
    lost = swarm["host1"]
    faults.power_off(lost)
    try:
        wait_for(lambda: swarm.managers().get(lost.name) == "unreachable", "one lost", within_s=15)
        assert swarm.operator.run("node", "ls").took_s < 5
    finally:
        faults.power_on(lost)
    swarm.settle()


def test_the_last_manager_cannot_be_demoted(swarm: Swarm) -> None:
    """Nor can a playbook that would leave none be applied; the swarm is as it was."""
    swarm.operator.run("node", "demote", "host2")
    swarm.operator.run("node", "demote", "host3")
    (error,) = swarm.operator.run("node", "demote", "host1", rc=1).errors
    assert "attempting to demote the last manager of the swarm" in error
    assert list(swarm.managers()) == ["host1"]
    wish(swarm, **{"host[1:5]": {"role": "worker"}})
    (error,) = swarm.apply(rc=1).errors
    assert "no host may be a manager" in error
    assert list(swarm.managers()) == ["host1"]
    swarm.play(PLAYBOOK)
    swarm.apply()
    swarm.settle()
    assert len(swarm.managers()) == 3
