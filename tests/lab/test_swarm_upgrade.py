"""A new release on a running swarm: in batches, without a task lost, and back where it fails."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import faults
from tests.lab.hosts import Host, run_in
from tests.lab.lab import Lab
from tests.lab.swarm import Swarm, daemon_pid, formed, processes, web
from tests.lab.waiting import wait_for
from tests.lab.writer import writing

PLAYBOOK = {"swarm": {"name": "upgrade", "managers": 3}, "services": {"web": web(5)}}


@pytest.fixture(scope="module")
def swarm(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    """Three managers and two workers, formed by an operator who has a copy of the package."""
    with formed(lab, tmp_path_factory, "upgrade", PLAYBOOK, count=5) as swarm:
        yield swarm


def release(host: Host) -> str:
    """Return the release that a host's daemon runs, from what the process has mapped."""
    maps = run_in(host, "cat", f"/proc/{daemon_pid(host)}/maps").stdout
    return maps.partition("/opt/swarmops/releases/")[2].partition("/")[0]


def edit(swarm: Swarm, name: str, text: str) -> Path:
    """Make another release: append to a module of the operator's package."""
    path = swarm.operator.own_code() / name
    path.write_text(path.read_text() + text)
    return path


def test_a_new_release_reaches_every_host_and_no_task_notices(swarm: Swarm) -> None:
    """All daemons run the new one, the tasks are the same processes, nothing is left to do."""
    before = {release(host) for host in swarm.hosts}
    tasks = processes(swarm.hosts)
    assert len(before) == 1
    edit(swarm, "runtime/__init__.py", "\n# another release\n")
    said = swarm.operator.run("upgrade", swarm.inventory, rc=0).said
    after = {release(host) for host in swarm.hosts}
    assert len(after) == 1
    assert after != before
    assert processes(swarm.hosts) == tasks
    assert "host1" in said
    swarm.operator.run("plan", swarm.inventory, rc=0)


def test_an_apply_that_ended_before_the_restart_is_finished_by_the_next(swarm: Swarm) -> None:
    """The release was switched on and the daemon still runs the former: the plan sees it."""
    host = swarm["host5"]
    former = release(host)
    others = run_in(host, "ls", "/opt/swarmops/releases").stdout.split()
    old = next(name for name in others if name != former)
    relink = "ln -sfn /opt/swarmops/releases/{0} /opt/swarmops/current"
    run_in(host, "sh", "-c", relink.format(old) + "; systemctl restart swarmops")
    run_in(host, "sh", "-c", relink.format(former))
    assert release(host) == old
    planned = swarm.operator.run("plan", swarm.inventory, rc=2)
    assert f"it still runs release {old}" in planned.said
    swarm.apply()
    assert release(host) == former


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("runtime/daemon.py", "\nraise SystemExit('this release is broken')\n"),
        ("agent/session.py", "\nraise ImportError('this one too')\n"),
    ],
)
def test_a_release_that_does_not_come_up_is_taken_back_and_stops_there(
    swarm: Swarm, module: str, text: str
) -> None:
    """One worker tries it and goes back; no other daemon is restarted; the swarm is whole."""
    good = {release(host) for host in swarm.hosts}
    pids = {host.name: daemon_pid(host) for host in swarm.hosts}
    tasks = processes(swarm.hosts)
    path = edit(swarm, module, text)
    done = swarm.apply(rc=None)
    assert done.rc not in {0, None}
    assert "doesn't come up well" in done.said
    assert f"it is back on {good.copy().pop()}" in done.said
    assert {release(host) for host in swarm.hosts} == good
    restarted = [name for name, pid in pids.items() if daemon_pid(swarm[name]) != pid]
    assert restarted == ["host4"]
    assert processes(swarm.hosts) == tasks
    path.write_text(path.read_text().removesuffix(text))
    swarm.apply()
    swarm.operator.run("plan", swarm.inventory, rc=0)


def test_a_release_that_only_managers_can_not_run_stops_at_the_first_of_them(
    swarm: Swarm, tmp_path: Path
) -> None:
    """The workers have it, one manager tried it and is back, and who writes notices nothing."""
    good = release(swarm["host1"])
    pids = {host.name: daemon_pid(host) for host in swarm.hosts}
    tasks = processes(swarm.hosts)
    text = "\nraise ImportError('no manager runs this')\n"
    path = edit(swarm, "runtime/manager_part.py", text)
    with writing(swarm, tmp_path, 30, but=swarm.hosts[3:]) as writer:
        done = swarm.apply(rc=3)
        writes = writer.stop()
    assert "doesn't come up well" in done.said
    assert [write for write in writes if not write.host] == []
    releases = {host.name: release(host) for host in swarm.hosts}
    assert {name for name, one in releases.items() if one == good} == {"host1", "host2", "host3"}
    restarted = {name for name, pid in pids.items() if daemon_pid(swarm[name]) != pid}
    assert {"host4", "host5"} < restarted
    assert len(restarted) == 3
    assert swarm.leader().name not in restarted
    assert processes(swarm.hosts) == tasks
    path.write_text(path.read_text().removesuffix(text))
    swarm.apply()
    swarm.operator.run("plan", swarm.inventory, rc=0)


def test_managers_are_left_alone_while_one_of_them_is_lost(swarm: Swarm) -> None:
    """The workers are brought to the new release; the managers wait for all of them to answer."""
    lost = next(h for h in swarm.hosts[:3] if h != swarm.leader())
    left = [host for host in swarm.hosts[:3] if host != lost]
    pids = {host.name: daemon_pid(host) for host in left}
    edit(swarm, "runtime/__init__.py", "\n# yet another release\n")
    faults.power_off(lost)
    try:
        wait_for(lambda: is_lost(swarm, lost), "its loss to be seen", within_s=60)
        said = swarm.operator.run("upgrade", swarm.inventory, rc=3).said
        assert "its restart could cost the quorum (2 of 3 managers answer)" in said
        assert {host.name: daemon_pid(host) for host in left} == pids
        assert {release(host) for host in swarm.hosts[3:]} != {release(host) for host in left}
    finally:
        faults.power_on(lost)
    swarm.apply()
    assert len({release(host) for host in swarm.hosts}) == 1


def is_lost(swarm: Swarm, host: Host) -> bool:
    """Say whether the other managers don't hear one."""
    return swarm.managers().get(host.name) == "unreachable"
