"""Podman through its Docker API: a task starts, ends, is heard of and removed."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from swarmops.agent.executors.base import ExecutorContext, TaskError
from swarmops.agent.executors.podman import PodmanExecutor
from tests.unit.agent.conftest import Bench
from tests.unit.agent.dockerd import IMAGE


@pytest.mark.root
async def test_podman_runs_a_task(context: ExecutorContext, podman_address: str):
    """Its exit code, user, output and end arrive as from Docker; nothing is left of it."""
    bench = Bench(PodmanExecutor, replace(context, podman_host=podman_address), IMAGE)
    bench.executor = await bench.another()
    work = await bench.started("id -u; sleep 0.5; exit 5", user="65534")
    end = await asyncio.wait_for(bench.executor.wait(work), 20)
    assert (end.code, end.container.exit_code) == (5, 5)
    assert await bench.lines(work) == [("stdout", "65534")]
    await bench.executor.remove(work)
    with pytest.raises(TaskError, match="No such container"):
        await bench.executor.wait(work)
    await bench.executor.close()
