"""Managers come, go and are lost for good, and who writes to the swarm meanwhile doesn't notice.

The tests share one swarm of five hosts on each backend; any of them may be a manager.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.lab import faults
from tests.lab.backend_side import BACKENDS, service
from tests.lab.holding import held_apply
from tests.lab.hosts import Host
from tests.lab.lab import Lab
from tests.lab.swarm import NATIVE, Swarm, drawn, web
from tests.lab.task_image import import_busybox
from tests.lab.waiting import wait_for
from tests.lab.writer import NOT_A_MANAGER, Write, Writer, writing

ELECTION_S = {NATIVE: 1.5, "docker": 60}
"""A write may be tried again, with any manager, for so long after it began."""
BEAT_S = 3
"""Docker's five seconds are long to wait for a node to be lost."""
NOTICED_S = {NATIVE: 0, "docker": 3 * BEAT_S + 1}
LOST = "its node went down before it was a manager: bring it back, and it is made one"
SERVICES = {NATIVE: web(5), "docker": service(5)}


@pytest.fixture(scope="module", params=BACKENDS)
def swarm(
    request: pytest.FixtureRequest, lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Swarm]:
    """One manager and four workers, each of which may become one."""
    backend: str = request.param
    with lab.claim(5, engine=backend != NATIVE) as hosts:
        swarm = drawn(hosts, tmp_path_factory, f"managers-{backend}", backend)
        if backend != NATIVE:
            import_busybox(hosts)
        # What is lost answers no SSH, each time anew.
        brief = {"ansible_ssh_timeout": 5}
        swarm.write(wanted(swarm, 1), managers=hosts, workers=hosts, variables=brief)
        swarm.apply()
        if backend != NATIVE:
            swarm.beat(every_s=BEAT_S)
        yield swarm


def wanted(swarm: Swarm, managers: int, *, after: str = "", worker: str = "") -> dict[str, object]:
    """Return the playbook: so many managers, replaced `after` they were lost; `worker` is none."""
    settings = {"managers": managers, **({"replace_dead_after": after} if after else {})}
    nodes = {worker: {"role": "worker"}} if worker else {}
    return {"swarm": settings, "services": {"web": SERVICES[swarm.backend]}, "nodes": nodes}


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


def hindered(swarm: Swarm, write: Write) -> bool:
    """Say whether a write was not taken, or of our own managers not by the first that was asked."""
    return not write.host or (swarm.backend == NATIVE and bool(write.refused))


def test_nobody_who_writes_notices_that_managers_come_and_go(swarm: Swarm, tmp_path: Path) -> None:
    """One manager, three, five, and another one alone: no write fails, none accepted is lost.

    Where the leader stays not even a second try is needed, but by Docker's managers; where it hands
    over, all are accepted within the time of an election.
    """
    first = swarm.leader().name
    with writing(swarm, tmp_path, ELECTION_S[swarm.backend]) as writer:
        for managers in (3, 5):
            for write in grown(swarm, writer, wanted(swarm, managers), managers):
                assert not hindered(swarm, write), write
        assert swarm.leader().name == first or swarm.backend != NATIVE
        assert len(writer.through()) == 5
        moved = grown(swarm, writer, wanted(swarm, 1, worker=first), 1)
        writes = writer.stop()
    assert [write for write in writes if not write.host] == []
    assert swarm.leader().name != first
    assert len(moved) > 1
    _, configs = swarm.ask(swarm.leader(), "GET", "/configs")
    kept = Counter(config["Spec"]["Name"] for config in configs)
    assert kept == Counter(write.name for write in writes)


def test_managers_lost_for_good_are_replaced(swarm: Swarm, tmp_path: Path) -> None:
    """A manager's power goes, then another's; both hosts, once back, are workers.

    Neither is given up before its time, but by `--replace-dead`, and by `replace_dead_after` once
    that time is over. The managers that are left take every write meanwhile.
    """
    steady(swarm)
    swarm.play(wanted(swarm, 3, after="1h"))
    swarm.apply()
    lost = [swarm.leader() if swarm.backend == NATIVE else follower(swarm)]
    try:
        lose(swarm, lost[0])
        managers = set(swarm.managers())
        swarm.apply(rc=3)
        assert set(swarm.managers()) == managers
        with writing(swarm, tmp_path, ELECTION_S[swarm.backend], but=lost) as writer:
            done = swarm.operator.run("apply", "--replace-dead", "--yes", swarm.inventory, rc=3)
            writes = writer.stop()
        assert [error.partition(": ")[0] for error in done.errors] == [lost[0].name], done.said
        assert [write for write in writes if hindered(swarm, write)] == []
        replaced(swarm, lost, managers)

        lost.append(follower(swarm))
        managers = set(swarm.managers())
        lose(swarm, lost[1])
        swarm.play(wanted(swarm, 3, after="1s"))
        down_long = "it to be down for a second"
        wait_for(lambda: unchanged_s(swarm, lost[1].name) > 1, down_long, within_s=60)
        swarm.apply(rc=3)
        replaced(swarm, lost, managers)
    finally:
        faults.power_on(*lost)
    taken_back(swarm, lost)


def test_a_host_lost_in_the_middle_of_an_apply_is_named_and_the_others_finish(swarm: Swarm) -> None:
    """Both hosts that were given up shall be managers again, and the power of one goes meanwhile.

    Of what they were nothing is left that would keep them out: the other one is a manager, and the
    lost one becomes it once it is back.
    """
    managers, before = wanted(swarm, 5), set(swarm.managers())
    lost = next(host for host in swarm.hosts if host.name not in before)
    try:
        with held_apply(swarm, managers) as held:
            faults.power_off(lost)
            done = held.go_on()
        assert (done.rc, done.errors) == (3, [f"{lost.name}: promoting: {LOST}"]), done.said
        others = {host.name for host in swarm.hosts if host is not lost}
        assert reachable(swarm) == others
    finally:
        faults.power_on(lost)
    wait_for(lambda: len(reachable(swarm)) == 5, "five managers", within_s=60)
    swarm.play(managers)
    assert "Nothing needs doing" in swarm.apply().out


def test_managers_without_a_majority_are_told_as_that(swarm: Swarm) -> None:
    """Docker's answer nothing for 20 s then, which is no runtime that hangs: a restart cures none.

    Once the others are back there is nothing to do.
    """
    swarm.play(wanted(swarm, 5))
    swarm.apply()
    lost = [host for host in swarm.hosts if host.name != swarm.leader().name][:3]
    try:
        faults.power_off(*lost)
        left = [host for host in swarm.hosts if host not in lost]
        wait_for(lambda: mute(swarm, left), "managers that know no leader", within_s=60)
        done = swarm.operator.run("apply", "--yes", swarm.inventory, rc=1)
        (refusal,) = (error for error in done.errors if "no manager tells its state" in error)
        assert "bring back more than half of the managers" in refusal
        assert all(host.name in refusal for host in swarm.hosts)
    finally:
        faults.power_on(*lost)
    wait_for(lambda: len(reachable(swarm)) == 5, "five managers", within_s=60)
    assert "Nothing needs doing" in swarm.apply().out


def mute(swarm: Swarm, managers: Sequence[Host]) -> bool:
    """Say whether none of these managers can tell the swarm's state."""
    return all(swarm.ask(host, "GET", "/nodes")[0] != HTTPStatus.OK for host in managers)


def reachable(swarm: Swarm) -> set[str]:
    """Return the managers that answer the others."""
    return {name for name, told in swarm.managers().items() if told == "reachable"}


def follower(swarm: Swarm) -> Host:
    """Return a manager that doesn't lead, nor made the swarm.

    A Docker Engine that is promoted becomes a manager through the one that it once joined through,
    and through no other.
    """
    found = set(swarm.managers()) - {swarm.leader().name, swarm.hosts[0].name}
    return swarm[min(found)]


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


def steady(swarm: Swarm) -> None:
    """Wait until all hosts are ready, and would be told down by now if they were not heard.

    A Docker Engine whose manager leads and is demoted is ready until it has missed three beats.
    """
    wait_for(
        lambda: (
            swarm.all_ready()
            and all(
                unchanged_s(swarm, host.name) > NOTICED_S[swarm.backend] for host in swarm.hosts
            )
        ),
        "every host a ready node that is heard",
        within_s=120,
    )


def unchanged_s(swarm: Swarm, name: str) -> float:
    """Return for how long a node has been as it is: all hosts have one clock."""
    since = datetime.fromisoformat(swarm.nodes()[name]["UpdatedAt"])
    return (datetime.now(UTC) - since).total_seconds()


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
        assert NOT_A_MANAGER in str(swarm.ask(host, "GET", "/nodes"))
    assert "Nothing needs doing" in swarm.apply().out
