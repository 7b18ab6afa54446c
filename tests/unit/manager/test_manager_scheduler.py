"""The scheduler's step: filters, ranking, preferences and reasons, without any loop."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.manager import filters
from swarmops.manager.load import NodeLoad, burden_of
from swarmops.model.ids import new_id
from swarmops.model.node import (
    Availability,
    NodeState,
)
from swarmops.model.service import (
    ContainerSpec,
    Driver,
    EndpointSpec,
    Mount,
    PlacementPreference,
    Platform,
    PortConfig,
    Resources,
    Service,
    ServiceSpec,
    SpreadOver,
    TaskSpec,
    VolumeOptions,
)
from swarmops.model.task import Task, TaskInternal, TaskState, TaskStatus
from swarmops.store import Transaction
from tests.sim.scheduler_lab import NOW, Swarm, gpus, spec


def with_drivers(*, volume: str = "", log: str = "") -> TaskSpec:
    """Return a template of a container with a volume and a log driver."""
    options = VolumeOptions(driver_config=Driver(name=volume))
    mount = Mount(type="volume", source="v", target="/v", volume_options=options)
    return TaskSpec(
        container_spec=ContainerSpec(image="busybox", mounts=[mount]), log_driver=Driver(name=log)
    )


HOST_PORT = EndpointSpec(
    ports=[PortConfig(protocol="tcp", target_port=80, published_port=80, publish_mode="host")]
)


@pytest.mark.parametrize(
    ("template", "other", "reason"),
    [
        (spec(), {"state": NodeState.DOWN}, "1 node not available for new tasks"),
        (spec(), {"state": NodeState.UNKNOWN}, "1 node not available for new tasks"),
        (spec(), {"availability": Availability.PAUSE}, "1 node not available for new tasks"),
        (spec(), {"availability": Availability.DRAIN}, "1 node not available for new tasks"),
        (
            spec(reserve=Resources(nano_cpus=int(2e9))),
            {"cpus": 1},
            "insufficient resources on 1 node",
        ),
        (
            spec(reserve=Resources(memory_bytes=2**20)),
            {"memory": 2**19},
            "insufficient resources on 1 node",
        ),
        (
            spec(reserve=Resources(generic_resources=[gpus(1)])),
            {},
            "insufficient resources on 1 node",
        ),
        (spec("host"), {"executors": ("docker",)}, "no executor for processes on 1 node"),
        (spec("busybox"), {"executors": ("process",)}, "no container engine on 1 node"),
        (
            with_drivers(volume="nosuch"),
            {"drivers": [("Volume", "local")]},
            "missing plugin on 1 node",
        ),
        (
            with_drivers(log="nosuch"),
            {"drivers": [("Log", "json-file")]},
            "missing plugin on 1 node",
        ),
        (
            spec(constraints=["node.labels.zone==a"]),
            {"labels": {"zone": "b"}},
            "scheduling constraints not satisfied on 1 node",
        ),
        (
            spec(constraints=["nonsense"]),
            {},
            "scheduling constraints not satisfied on 1 node",
        ),
        (
            spec(platforms=[Platform(architecture="arm64", os="linux")]),
            {},
            "unsupported platform on 1 node",
        ),
    ],
)
def test_a_filter_keeps_a_task_off_and_says_why(
    template: TaskSpec, other: dict[str, object], reason: str
) -> None:
    """The only node is unfit: the task waits with Docker's reason."""
    swarm = Swarm()
    swarm.node("n1", **other)
    swarm.service("web", template, 1)
    swarm.schedule()
    assert swarm.reasons() == {f"no suitable node ({reason})"}


@pytest.mark.parametrize(
    ("template", "parts", "placed", "reason"),
    [
        (
            spec(reserve=Resources(nano_cpus=int(1.5e9))),
            {},
            2,
            "insufficient resources on 1 node",
        ),
        (spec(max_replicas=2), {}, 2, "max replicas per node limit exceed"),
        (
            spec(),
            {"endpoint_spec": HOST_PORT},
            1,
            "host-mode port already in use on 1 node",
        ),
        (
            spec(reserve=Resources(generic_resources=[gpus(1)])),
            {},
            3,
            "insufficient resources on 1 node",
        ),
    ],
)
def test_a_node_fills_up(
    template: TaskSpec, parts: dict[str, object], placed: int, reason: str
) -> None:
    """What a task takes is taken: as many as fit are placed, the rest wait."""
    swarm = Swarm()
    swarm.node("n1", cpus=3.5, gpus=3)
    swarm.service("web", template, 5, **parts)
    swarm.schedule()
    assert swarm.spread("web") == {"n1": placed}
    assert swarm.reasons() == {f"no suitable node ({reason})"}


def test_a_port_is_taken_until_its_task_has_ended_even_if_the_service_is_gone() -> None:
    """Another service's task waits for the end of the process that listens there."""
    swarm = Swarm()
    swarm.node("n1")
    swarm.service("web", spec(), 1, endpoint_spec=HOST_PORT)
    swarm.schedule()
    (old,) = swarm.store.tasks.by_service("web")
    tx = Transaction()
    tx.delete(swarm.store.services["web"])
    tx.patch_task(old.id, desired_state=TaskState.REMOVE)
    swarm.apply(tx)
    swarm.service("next", spec(), 1, endpoint_spec=HOST_PORT)
    swarm.schedule()
    assert swarm.reasons() == {
        "no suitable node (host-mode port already in use on 1 node)",
    }
    tx = Transaction()
    tx.patch_task(old.id, status=replace(old.status, state=TaskState.SHUTDOWN))
    swarm.apply(tx)
    swarm.schedule()
    assert swarm.spread("next") == {"n1": 1}


def test_platform_names_are_equal_where_docker_says_so() -> None:
    """x86_64 is amd64, aarch64 is arm64."""
    swarm = Swarm()
    swarm.node("n1", arch="x86_64")
    swarm.node("n2", arch="aarch64")
    swarm.service("web", spec(platforms=[Platform(architecture="ARM64", os="linux")]), 1)
    swarm.schedule()
    assert swarm.spread("web") == {"n2": 1}


def test_reasons_are_joined_the_commonest_first() -> None:
    """Each node counts once, for the first filter that it fails."""
    swarm = Swarm()
    swarm.node("n1", availability=Availability.DRAIN)
    for number in range(2, 5):
        swarm.node(f"n{number}", cpus=0.5)
    swarm.service("web", spec(reserve=Resources(nano_cpus=int(1e9))), 1)
    swarm.schedule()
    assert swarm.reasons() == {
        "no suitable node (insufficient resources on 3 nodes; 1 node not available for new tasks)"
    }


def test_without_nodes_there_is_nothing_to_explain() -> None:
    """Docker's shortest reason."""
    swarm = Swarm()
    swarm.service("web", spec(), 2)
    swarm.schedule()
    assert swarm.reasons() == {"no suitable node"}


def test_a_reason_is_written_once() -> None:
    """A second look at the same swarm writes nothing."""
    swarm = Swarm()
    swarm.service("web", spec(), 2)
    swarm.schedule()
    before = swarm.index
    swarm.schedule()
    assert swarm.index == before


def test_spreading_counts_the_service_first_then_all() -> None:
    """A node without the service is better than an emptier one that has it."""
    swarm = Swarm()
    swarm.node("n1")
    swarm.node("n2")
    swarm.service("db", spec(constraints=["node.id==n1"]), 3)
    swarm.schedule()
    swarm.service("web", spec(), 3)
    swarm.schedule()
    assert swarm.spread("web") == {"n2": 2, "n1": 1}


def test_a_node_where_the_service_failed_often_is_the_last_choice() -> None:
    """Five failures in five minutes count; four don't, nor old ones."""
    swarm = Swarm()
    swarm.node("n1")
    swarm.node("n2")
    swarm.service("web", spec(), 0)
    fail(swarm, "n1", 4, NOW)
    swarm.service("calm", spec(), 0)
    swarm.put(Task(id="w1", service_id="web", slot=90, spec=spec(), internal=VERSION))
    swarm.schedule()
    assert swarm.store.tasks["w1"].node_id == "n1"
    fail(swarm, "n1", 5, NOW - timedelta(minutes=6))
    swarm.put(Task(id="w2", service_id="web", slot=91, spec=spec(), internal=VERSION))
    swarm.schedule()
    assert swarm.store.tasks["w2"].node_id == "n2"
    fail(swarm, "n1", 1, NOW)
    swarm.put(*(_waiting(f"x{i}", 92 + i) for i in range(3)))
    swarm.schedule()
    assert {swarm.store.tasks[f"x{i}"].node_id for i in range(3)} == {"n2"}


VERSION = TaskInternal(spec_version=1)


def _waiting(task_id: str, slot: int) -> Task:
    return Task(id=task_id, service_id="web", slot=slot, spec=spec(), internal=VERSION)


def fail(swarm: Swarm, node_id: str, count: int, at: datetime) -> None:
    """Store tasks of the service ``web`` that failed on the node then."""
    swarm.put(
        *(
            Task(
                id=new_id(swarm.rng),
                service_id="web",
                slot=1,
                node_id=node_id,
                spec=spec(),
                status=TaskStatus(state=TaskState.FAILED),
                desired_state=TaskState.SHUTDOWN,
                internal=replace(VERSION, ended_at=at),
            )
            for _ in range(count)
        )
    )


def zones(*labels: str) -> list[PlacementPreference]:
    """Return preferences that spread over these node labels."""
    return [
        PlacementPreference(spread=SpreadOver(spread_descriptor=f"node.labels.{label}"))
        for label in labels
    ]


def test_a_spread_preference_equalises_zones_not_nodes() -> None:
    """Three nodes in one zone and one in another: each zone gets half."""
    swarm = Swarm()
    for number in range(3):
        swarm.node(f"a{number}", labels={"zone": "a"})
    swarm.node("b0", labels={"zone": "b"})
    swarm.service("web", spec(preferences=zones("zone")), 12)
    swarm.schedule()
    assert swarm.spread("web") == {"a0": 2, "a1": 2, "a2": 2, "b0": 6}


def test_preferences_nest_and_a_missing_label_is_a_group() -> None:
    """Zones first, racks within; nodes without the label are a zone of their own."""
    swarm = Swarm()
    swarm.node("a1", labels={"zone": "a", "rack": "1"})
    swarm.node("a2", labels={"zone": "a", "rack": "2"})
    swarm.node("a3", labels={"zone": "a", "rack": "2"})
    swarm.node("none")
    swarm.service("web", spec(preferences=zones("zone", "rack")), 8)
    swarm.schedule()
    assert swarm.spread("web") == {"none": 4, "a1": 2, "a2": 1, "a3": 1}


def test_a_zone_that_is_full_leaves_the_rest_to_the_others() -> None:
    """Preferences are wishes: no task waits for one."""
    swarm = Swarm()
    swarm.node("a", labels={"zone": "a"})
    swarm.node("b", labels={"zone": "b"}, availability=Availability.DRAIN)
    swarm.service("web", spec(preferences=zones("zone")), 4)
    swarm.schedule()
    assert swarm.spread("web") == {"a": 4}


def test_a_preassigned_task_is_only_validated() -> None:
    """A global service's task goes to its node or waits there with the reason."""
    swarm = Swarm()
    swarm.node("n1")
    swarm.node("n2", executors=("docker",))
    swarm.put(Service(id="g", spec=ServiceSpec(name="g", task_template=spec())))
    for node_id in ("n1", "n2"):
        swarm.put(Task(id=f"t{node_id}", service_id="g", node_id=node_id, spec=spec()))
    swarm.schedule()
    assert swarm.store.tasks["tn1"].status.state is TaskState.ASSIGNED
    assert swarm.reasons() == {"no suitable node (no executor for processes on 1 node)"}


def test_tasks_that_shall_not_run_are_left_alone() -> None:
    """A task that shall be removed before it was placed is never placed."""
    swarm = Swarm()
    swarm.node("n1")
    swarm.service("web", spec(), 1)
    [task] = swarm.store.tasks
    tx = Transaction()
    tx.patch_task(task.id, desired_state=TaskState.REMOVE)
    swarm.apply(tx)
    swarm.schedule()
    assert swarm.store.tasks[task.id].node_id is UNSET


NODES = st.lists(
    st.fixed_dictionaries(
        {
            "cpus": st.integers(1, 4),
            "labels": st.sampled_from([{}, {"zone": "a"}, {"zone": "b"}]),
            "executors": st.sampled_from([("process",), ("docker",), ("process", "docker")]),
            "state": st.sampled_from([NodeState.READY, NodeState.READY, NodeState.DOWN]),
            "availability": st.sampled_from([*Availability, Availability.ACTIVE]),
        }
    ),
    min_size=1,
    max_size=8,
)
SPECS = st.builds(
    spec,
    image=st.sampled_from(["host", "busybox"]),
    reserve=st.sampled_from([UNSET, Resources(nano_cpus=int(1e9))]),
    constraints=st.sampled_from([[], ["node.labels.zone==a"], ["node.labels.zone!=b"]]),
    preferences=st.sampled_from([[], zones("zone")]),
    max_replicas=st.integers(0, 3),
)


@settings(max_examples=60, deadline=None)
@for_all(
    nodes=NODES,
    specs=st.lists(SPECS, min_size=1, max_size=4),
    count=st.integers(1, 15),
    together=st.booleans(),
)
def test_no_filter_is_ever_violated(
    nodes: list[dict[str, object]],
    specs: list[TaskSpec],
    count: int,
    together: bool,  # noqa: FBT001
) -> None:
    """Whatever nodes and services: placed tasks pass every filter, waiting ones have a reason.

    One service after the other, or all of them in the same step.
    """
    swarm = Swarm()
    for number, parts in enumerate(nodes):
        swarm.node(f"n{number}", **parts)
    for number, template in enumerate(specs):
        swarm.service(f"s{number}", template, count)
        if not together:
            swarm.schedule()
    if together:
        swarm.schedule()
    loads = {each.id: NodeLoad(each) for each in swarm.store.nodes}
    for task in swarm.store.tasks:
        service = swarm.store.services[task.service_id]
        if task.node_id is UNSET:
            assert str(task.status.err).startswith("no suitable node")
            assert task.status.state is TaskState.PENDING
            continue
        load = loads[task.node_id]
        for check in filters.set_for(task, service):
            assert check.check(load), check
        burden = burden_of(task)
        assert burden is not None
        load.add(task.id, burden)
    for task in swarm.store.tasks.unassigned():
        checks = filters.set_for(task, swarm.store.services[task.service_id])
        fit = [load for load in loads.values() if all(check.check(load) for check in checks)]
        assert not fit, "a task waits although a node is fit"


@settings(max_examples=40, deadline=None)
@for_all(nodes=st.integers(1, 12), counts=st.lists(st.integers(1, 25), min_size=1, max_size=4))
def test_unconstrained_services_are_spread_evenly(nodes: int, counts: list[int]) -> None:
    """Of each service, and of all together, no node has over one task more than another."""
    swarm = Swarm()
    for number in range(nodes):
        swarm.node(f"n{number}")
    total: Counter[str] = Counter({f"n{number}": 0 for number in range(nodes)})
    for number, count in enumerate(counts):
        swarm.service(f"s{number}", spec(), count)
        swarm.schedule()
        spread = swarm.spread(f"s{number}")
        assert spread.total() == count
        per_node = [spread[each] for each in total]
        assert max(per_node) - min(per_node) <= 1
        total.update(spread)
        assert max(total.values()) - min(total.values()) <= 1
