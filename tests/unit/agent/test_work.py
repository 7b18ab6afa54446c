"""What a task is told of its place, and what a node says of itself."""

from __future__ import annotations

import time
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.agent.describe import Describe
from swarmops.agent.executors import ExecutorContext, load_executors
from swarmops.agent.work import make_work
from swarmops.model.base import given
from swarmops.model.node import EngineDescription, Plugin
from swarmops.model.service import (
    DiscreteGenericResource,
    GenericResource,
    Mount,
    NamedGenericResource,
    VolumeOptions,
)
from swarmops.model.task import TaskInternal
from swarmops.model.templates import EXAMPLE, expand
from tests.unit.agent.conftest import FACTS, make_task
from tests.unit.agent.fake_manager import AirExecutor

VALUES = {".Task.Slot": "3", ".Node.Hostname": "host1"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("{{.Task.Slot}}", "3"),
        ("a-{{ .Task.Slot }}-{{- .Node.Hostname -}}", "a-3-host1"),
        ("{{.Service.Labels.zone}}", "eu"),
        ('{{index .Service.Labels "com.example.zone"}}', "north"),
        ("{{.Service.Labels.none}}", ""),
    ],
)
def test_templates_are_filled_as_docker_does(text: str, expected: str):
    """Placeholders, labels and spaces mean what they mean in `docker service create`."""
    assert expand(text, VALUES, {"zone": "eu", "com.example.zone": "north"}) == expected


def test_an_unknown_placeholder_is_named():
    """The error says which one is wrong and which there are."""
    with pytest.raises(ValueError, match=r"\{\{.Task.Sloth\}\} is unknown: use one of \.Node\."):
        expand("{{.Task.Sloth}}", VALUES, {})
    with pytest.raises(ValueError, match="has an action without an end"):
        expand("{{.Task.Slot}}-{{.Task.Slot", VALUES, {})


@pytest.mark.parametrize(
    "text",
    ["{{" + " " * 100_000, "{{" * 100_000, "{{}" * 50_000 + "}}"],
    ids=("blanks", "opened", "half-closed"),
)
def test_a_long_wrong_template_is_refused_in_no_time(text: str):
    """Whoever may create a service would hold a manager with it, or an agent with a config."""
    begun_s = time.process_time()
    with pytest.raises(ValueError, match="without an end"):
        expand(text, VALUES, {})
    assert time.process_time() - begun_s < 1


def test_hostname_environment_and_mounts_are_templates():
    """Docker's three places for templates."""
    task = make_task(
        hostname="{{.Node.Hostname}}-{{.Task.Slot}}",
        env=["WHO={{.Service.Name}}/{{.Task.ID}}@{{.Node.ID}}", "ZONE={{.Service.Labels.zone}}"],
        mounts=[Mount(type="volume", source="v{{.Task.Slot}}", target="/d")],
    )
    internal = replace(given(task.internal, TaskInternal()), service_labels={"zone": "eu"})
    container = make_work(replace(task, internal=internal), FACTS).container
    assert container.hostname == "host1-2"
    assert container.env == [f"WHO=web/{task.id}@node1", "ZONE=eu"]
    assert container.mounts == [Mount(type="volume", source="v2", target="/d")]


def test_every_placeholder_that_the_api_takes_is_known_to_the_node():
    """What was not refused at the border is never rejected here."""
    task = make_task(env=[f"X={{{{{name}}}}}" for name in EXAMPLE])
    assert not any("{{" in each for each in make_work(task, FACTS).container.env or [])
    labelled = VolumeOptions(labels={"slot": "{{.Task.Slot}}"})
    task = make_task(mounts=[Mount(type="volume", target="/d", volume_options=labelled)])
    (mount,) = make_work(task, FACTS).container.mounts or []
    assert mount.volume_options == VolumeOptions(labels={"slot": "2"})


async def test_a_node_describes_its_machine_and_executors(context: ExecutorContext):
    """Size, platform and the executors that work, as plugins."""
    executors = load_executors(context)
    assert list(executors) == ["process", "docker", "podman"]
    description = await Describe(hostname="h", executors={"process": executors["process"]})()
    assert description.hostname == "h"
    assert isinstance(description.engine, EngineDescription)
    assert description.engine.plugins == [Plugin(type="Executor", name="process")]
    assert description.resources
    assert description.resources.nano_cpus
    assert description.resources.memory_bytes
    for executor in executors.values():
        await executor.close()


class Speechless(AirExecutor):
    """An executor with a fault."""

    async def describe(self) -> list[Plugin]:
        """Fail at it."""
        raise KeyError("Plugins")


async def test_an_executor_that_fails_to_describe_itself_costs_the_node_itself_alone(
    context: ExecutorContext,
):
    """The others have their say, and the node its place in the swarm."""
    executors = load_executors(context)
    shown = {"air": Speechless(), "process": executors["process"]}
    description = await Describe(hostname="h", executors=shown)()
    assert isinstance(description.engine, EngineDescription)
    assert description.engine.plugins == [Plugin(type="Executor", name="process")]
    for executor in executors.values():
        await executor.close()


async def test_a_node_says_what_its_operator_says_of_it(tmp_path: Path):
    """Engine labels and generic resources, read anew each time; a mistake changes nothing."""
    file = tmp_path / "machine.json"
    describe = Describe(hostname="h", executors={}, file=file)

    async def said() -> tuple[Any, Any]:
        description = await describe()
        engine, resources = description.engine, description.resources
        assert engine
        assert resources
        return engine.labels, resources.generic_resources

    assert await said() == ({}, UNSET)
    file.write_text('{"labels": {"disk": "ssd"}, "generic_resources": {"gpu": ["a"], "slot": 3}}')
    told = (
        {"disk": "ssd"},
        [
            GenericResource(named_resource_spec=NamedGenericResource(kind="gpu", value="a")),
            GenericResource(discrete_resource_spec=DiscreteGenericResource(kind="slot", value=3)),
        ],
    )
    assert await said() == told
    for mistake in ("{", '{"label": {}}', '{"generic_resources": {"gpu": "a"}}'):
        file.write_text(mistake)
        assert await said() == told
    file.unlink()
    assert await said() == ({}, UNSET)


def test_an_executor_that_cant_be_loaded_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A broken package of somebody else's costs its executor, not the node."""
    group = "swarmops.executors"
    process = "swarmops.agent.executors.process:ProcessExecutor"
    (tmp_path / "newer.py").write_text("type Number = float or\n")
    monkeypatch.syspath_prepend(tmp_path)
    broken = (
        *("no.such:Thing", "swarmops.errors:NoSuch", "no/thing", "newer:Thing"),
        "swarmops.agent.executors.base:Executor",  # none of its kind: it takes no argument
    )
    found = [
        *(metadata.EntryPoint(f"gone{n}", where, group) for n, where in enumerate(broken)),
        metadata.EntryPoint("process", process.replace(":", " : ") + " [extra]", group),
        metadata.EntryPoint("process", "newer:Thing", group),
    ]
    monkeypatch.setattr(metadata, "entry_points", lambda **_: found)
    assert [*load_executors(ExecutorContext(node_id="n", data_dir=tmp_path))] == ["process"]
