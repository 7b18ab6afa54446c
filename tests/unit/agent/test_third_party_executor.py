"""An executor of a third party's package: found, brought to hosts, and given tasks to run."""

from __future__ import annotations

import asyncio
import random
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarmops.agent.agent import Agent
from swarmops.agent.describe import Describe
from swarmops.agent.executors import ExecutorContext, load_executors
from swarmops.backends import bundle, wheels
from swarmops.manager.filters import Executor as ExecutorFilter
from swarmops.model.session import LogLines, LogQuery, LogsWanted
from swarmops.model.task import TaskState
from tests.unit.agent.conftest import make_task, now
from tests.unit.agent.fake_manager import FakeManager

EXAMPLE = Path(__file__).parents[3] / "examples" / "executor"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install the example as pip would: its module, and what is known of it beside that."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    (group, entries), *_ = project["entry-points"].items()
    site = tmp_path / "site"
    info = site / "swarmops_nap-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "swarmops_nap.py").write_text((EXAMPLE / "swarmops_nap.py").read_text())
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        + "".join(f"Requires-Dist: {each}\n" for each in project["dependencies"])
    )
    points = "".join(f"{name} = {target}\n" for name, target in entries.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{points}")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    (info / "RECORD").write_text("swarmops_nap.py,,\nswarmops_nap-1.0.dist-info/METADATA,,\n")
    monkeypatch.syspath_prepend(site)
    yield
    monkeypatch.undo()


@pytest.mark.usefixtures("installed")
async def test_tasks_of_its_image_run(tmp_path: Path):
    """From assignment to completion, with output; a wrong argument is the task's error."""
    context = ExecutorContext(node_id="node1", data_dir=tmp_path / "worker")
    found = load_executors(context)
    executors = {name: found[name] for name in ("process", "nap")}
    naps, wrong = (
        make_task(image="nap:1", args=[seconds], desired_state=TaskState.COMPLETE)
        for seconds in ("0.2", "soon")
    )
    manager = FakeManager(naps, wrong)
    agent = Agent(
        node_id="node1",
        dial=manager.dial,
        data_dir=tmp_path,
        executors=executors,
        describe=Describe(hostname="host1", executors=executors),
        node_addr="10.0.0.1",
        on_node=lambda _: None,
        now=now,
        rng=random.Random(1),
    )
    running = asyncio.create_task(agent.run())
    await manager.reported(naps, TaskState.COMPLETE)
    assert TaskState.RUNNING in manager.states(naps)
    refused = await manager.reported(wrong, TaskState.REJECTED)
    assert refused.err == "the first argument must be how many seconds to sleep"
    engine = manager.hellos[0].description.engine
    assert "nap" in str(engine)
    assert manager.channel is not None
    manager.channel.say(LogsWanted(1, [naps.id], LogQuery(), 1 << 20))
    await manager.until(lambda: any(isinstance(frame, LogLines) for frame in manager.frames))
    await agent.stop()
    await running
    await agent.close()
    await manager.stop()
    for executor in found.values():
        await executor.close()


@pytest.mark.usefixtures("installed")
def test_its_package_is_brought_to_hosts():
    """With what it needs, but swarmops itself, which every bundle has."""
    names = {part.name for part in bundle._dependencies(wheels.here())}
    assert "swarmops-nap" in names
    (table,) = (bundle._executors().own or {}).values()
    assert "'nap': 'swarmops_nap:" in table.decode()
    assert "'process': 'swarmops." in table.decode()
    assert "swarmops" not in names
    assert "fabric" not in names


@pytest.mark.parametrize(
    ("image", "executor", "fits"),
    [
        ("host", "process", True),
        ("host", "nap", False),
        ("nap", "nap", True),
        ("nap", "process", False),
        ("web:1", "docker", True),
        ("web:1", "podman", True),
    ],
)
def test_the_scheduler_counts_it_among_those_for_images(
    image: str,
    executor: str,
    fits: bool,  # noqa: FBT001 - a table's column
):
    """`host` is for plain processes alone; any other executor may take any other image."""
    assert ExecutorFilter(image).fits({executor}) is fits
