"""A new release on a running swarm: in batches, without a task lost, and back where it fails."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.hosts import Host, run_in
from tests.lab.lab import Lab
from tests.lab.swarm import Swarm, daemon_pid, formed, processes, web

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
