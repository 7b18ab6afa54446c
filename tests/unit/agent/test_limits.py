"""Limits of process tasks: which files are written, and that the kernel enforces them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from swarmops.agent.executors import cgroup
from swarmops.agent.executors.base import ExecutorContext, LogRequest
from swarmops.agent.executors.cgroup import Hierarchy, Limits, find_hierarchy, plan
from swarmops.agent.executors.process import ProcessExecutor
from swarmops.agent.executors.process_limits import WITHOUT, TaskLimits
from swarmops.agent.work import Work
from swarmops.model.service import Limit, ResourceRequirements

MakeWork = Callable[..., Work]
V1 = """\
24 23 0:25 / /sys/fs/cgroup rw shared:9 - tmpfs tmpfs rw,mode=755
26 24 0:27 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw
28 24 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:12 - cgroup cgroup rw,cpu,cpuacct
29 24 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
30 24 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
"""
V2 = "25 20 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
NONE = "25 20 0:26 / /proc rw - proc proc rw\n"
ALL = Limits(nano_cpus=500_000_000, memory_bytes=64 << 20, pids=9)


@pytest.fixture
async def executor(context: ExecutorContext) -> AsyncIterator[ProcessExecutor]:
    """Return an executor whose tasks are all gone afterwards."""
    made = ProcessExecutor(context)
    yield made
    await made.reattach([])
    await made.close()


def limited(work: MakeWork, script: str, **limit: int) -> Work:
    """Return work with limits."""
    return work(command=["sh", "-c", script], resources=ResourceRequirements(limits=Limit(**limit)))


def test_version_1_has_a_group_in_each_controller():
    """Only in those of the limits that are set, with the kernel's names and units."""
    hierarchy = find_hierarchy(V1)
    assert hierarchy is not None
    planned = plan(hierarchy, "t1", ALL)
    root = Path("/sys/fs/cgroup")
    assert planned.enable == []
    assert planned.files == [
        (root / "cpu,cpuacct/swarmops/t1/cpu.cfs_period_us", "100000"),
        (root / "cpu,cpuacct/swarmops/t1/cpu.cfs_quota_us", "50000"),
        (root / "memory/swarmops/t1/memory.limit_in_bytes", str(64 << 20)),
        (root / "pids/swarmops/t1/pids.max", "9"),
    ]
    assert planned.doors[-1] == root / "pids/swarmops/t1/cgroup.procs"
    assert len(plan(hierarchy, "t1", Limits(pids=1)).folders) == 1


def test_version_2_has_one_group_and_controllers_to_enable():
    """In the root and in the parent of the tasks' groups."""
    hierarchy = find_hierarchy(V2)
    assert hierarchy is not None
    planned = plan(hierarchy, "t1", ALL)
    root = Path("/sys/fs/cgroup")
    assert planned.enable == [
        (root / "cgroup.subtree_control", "+cpu +memory +pids"),
        (root / "swarmops/cgroup.subtree_control", "+cpu +memory +pids"),
    ]
    assert planned.folders == [root / "swarmops/t1"]
    assert planned.files == [
        (root / "swarmops/t1/cpu.max", "50000 100000"),
        (root / "swarmops/t1/memory.max", str(64 << 20)),
        (root / "swarmops/t1/pids.max", "9"),
    ]


def test_a_version_2_group_is_made_in_order(tmp_path: Path):
    """The parent exists before its controllers are enabled, all before the limits."""
    planned = plan(Hierarchy(dict.fromkeys(("cpu", "memory", "pids"), tmp_path), unified=True),
                   "t1", ALL)  # fmt: skip
    cgroup.make(planned)
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert (tmp_path / "swarmops/cgroup.subtree_control").exists()
    assert (tmp_path / "swarmops/t1/pids.max").read_text() == "9"
    events = "low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\n"
    (tmp_path / "swarmops/t1/memory.events").write_text(events)
    assert cgroup.out_of_memory(Hierarchy({"memory": tmp_path}, unified=True), "t1")


def test_a_tiny_share_of_a_cpu_is_what_the_kernel_takes():
    """Less than a millisecond in a period would be refused."""
    planned = plan(Hierarchy({"cpu": Path("/c")}, unified=True), "t", Limits(nano_cpus=1_000_000))
    assert planned.files[0][1] == "1000 100000"


def test_a_node_without_control_groups_says_so(tmp_path: Path, work: MakeWork):
    """The task runs without its limits, and its message has the reason."""
    (tmp_path / "mountinfo").write_text(NONE)
    limits = TaskLimits(tmp_path / "mountinfo")
    assert limits.set(limited(work, "true", pids=5)) == []
    assert limits.missing(limited(work, "true", pids=5)) == WITHOUT
    assert limits.missing(work(command=["true"])) == ""


def test_a_node_that_may_not_write_says_so(tmp_path: Path, work: MakeWork):
    """What was begun is removed again."""
    (tmp_path / "mountinfo").write_text(f"1 1 0:1 / {tmp_path} rw - cgroup2 cgroup2 rw\n")
    (tmp_path / "cgroup.subtree_control").mkdir()
    limits = TaskLimits(tmp_path / "mountinfo")
    task = limited(work, "true", pids=5)
    assert limits.set(task) == []
    assert limits.missing(task) == WITHOUT
    assert not (tmp_path / "swarmops" / task.id).exists()


def may_limit() -> bool:
    """Whether this machine lets its tests make control groups."""
    found = find_hierarchy(Path("/proc/self/mountinfo").read_text())
    return found is not None and all(os.access(root, os.W_OK) for root in found.roots.values())


@pytest.mark.root
async def test_the_kernel_keeps_a_process_to_its_limits(executor: ProcessExecutor, work: MakeWork):
    """No more processes than allowed; the groups are gone with the task."""
    assert may_limit(), "this test needs control groups that root can write"
    script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; echo all"
    task = limited(work, script, pids=6)
    await executor.prepare(task)
    await executor.start(task)
    assert (await executor.report(task)).warning == ""
    assert (await executor.wait(task)).code != 0
    assert "all" not in [line.data.decode() async for line in executor.logs(task, LogRequest())]
    planned = TaskLimits()._plan(task)
    assert planned is not None
    assert planned.folders[0].is_dir()
    await executor.remove(task)
    assert not planned.folders[0].exists()


@pytest.mark.root
async def test_a_process_that_needs_more_memory_is_killed(
    executor: ProcessExecutor, work: MakeWork
):
    """The end says why."""
    task = limited(work, "exec tail /dev/zero", memory_bytes=16 << 20)
    await executor.prepare(task)
    await executor.start(task)
    end = await executor.wait(task)
    assert (end.code, end.error) == (137, "out of memory")
