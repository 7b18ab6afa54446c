"""What the swarm promises about published ports: which are given, kept, freed and refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.manager.endpoints import DYNAMIC, endpoint_of, settled
from swarmops.manager.places import new_task
from swarmops.manager.update_survey import is_dirty
from swarmops.model.base import given
from swarmops.model.service import (
    ContainerSpec,
    Endpoint,
    EndpointSpec,
    PortConfig,
    ReplicatedMode,
    Service,
    ServiceInternal,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
)
from swarmops.model.session import Assignments, Ingress, decode_manager_frame
from swarmops.model.task import TaskInternal
from swarmops.store import NodeTable, PortConflict, Transaction
from tests.sim.manager_lab import Lab, lab
from tests.sim.virtual_loop import virtual


def port(
    target: int, number: int | None = None, mode: str = "ingress", protocol: str = "tcp"
) -> PortConfig:
    """Return a port as the API stores it; without a number one is to be chosen."""
    return PortConfig(
        protocol=protocol,
        target_port=target,
        published_port=UNSET if number is None else number,
        publish_mode=mode,
    )


def service(*ports: PortConfig, name: str = "web", had: tuple[PortConfig, ...] = ()) -> Service:
    """Return a service that publishes these; ``had``: what it was given before."""
    return Service(
        id=f"id-{name}",
        spec=ServiceSpec(
            name=name,
            task_template=TaskSpec(container_spec=ContainerSpec(image="host", args=["x"])),
            endpoint_spec=EndpointSpec(mode="vip", ports=list(ports)) if ports else UNSET,
        ),
        endpoint=Endpoint(ports=list(had)) if had else Endpoint(),
    )


@pytest.mark.parametrize(
    ("wanted", "had", "taken", "numbers"),
    [
        pytest.param([port(80, 8080)], (), set(), [8080], id="the number that the spec names"),
        pytest.param([port(80)], (), set(), [30000], id="the first free one where it names none"),
        pytest.param([port(80)], (), {("tcp", 30000)}, [30001], id="not another service's"),
        pytest.param([port(80)], (), {("udp", 30000)}, [30000], id="protocols are apart"),
        pytest.param([port(80), port(81)], (), set(), [30000, 30001], id="each its own"),
        pytest.param([port(80), port(81, 30000)], (), set(), [30001, 30000], id="nor our own"),
        pytest.param([port(80)], (port(80, 30007),), set(), [30007], id="kept in an update"),
        pytest.param([port(81)], (port(80, 30007),), set(), [30000], id="only for its target"),
        pytest.param([port(80)], (port(80, 8080),), set(), [30000], id="a named one isn't kept"),
        pytest.param(
            [port(80)], (port(80, 30007),), {("tcp", 30007)}, [30000], id="lost to another service"
        ),
        pytest.param(
            [port(80), port(81)],
            (port(81, 30000),),
            set(),
            [30001, 30000],
            id="kept although another is chosen first",
        ),
        pytest.param([port(80, mode="host")], (), set(), [0], id="nodes choose in host mode"),
        pytest.param([port(80)], (), {("tcp", n) for n in DYNAMIC}, [0], id="none is free"),
    ],
)
def test_a_port_without_a_number_gets_the_first_free_one_and_keeps_it(
    wanted: list[PortConfig],
    had: tuple[PortConfig, ...],
    taken: set[tuple[str, int]],
    numbers: list[int],
):
    """Same input, same ports; asking again with the answer changes nothing."""
    asked = service(*wanted, had=had)
    endpoint = endpoint_of(asked, taken)
    assert [given(p.published_port, 0) for p in given(endpoint.ports, [])] == numbers
    assert endpoint.spec == asked.spec.endpoint_spec
    again = replace(asked, endpoint=endpoint)
    assert endpoint_of(again, taken) == endpoint
    assert settled(again) == (0 not in numbers or wanted[0].publish_mode == "host")


def test_a_service_that_publishes_nothing_has_docker_s_empty_endpoint():
    """Also when it published something before."""
    assert endpoint_of(service(had=(port(80, 30000),)), set()) == Endpoint()


@pytest.mark.parametrize(
    ("before", "after", "dirty"),
    [
        ([port(80, 8080)], [port(80, 8080)], False),
        ([port(80, 8080)], [port(80, 8081)], True),
        ([], [port(80, 8081)], True),
    ],
)
def test_tasks_know_what_they_publish_and_are_replaced_when_it_changes(
    before: list[PortConfig], after: list[PortConfig], *, dirty: bool
):
    """Docker replaces tasks for a changed endpoint too."""
    rng, now = random.Random(1), datetime(2026, 1, 1, tzinfo=UTC)
    task = new_task(service(*before), "1", rng, now)
    assert given(task.internal, TaskInternal()).ports == before
    changed = replace(service(*after), internal=ServiceInternal(spec_version=9))
    assert is_dirty(changed, task, NodeTable()) is dirty


@virtual
async def test_ports_are_given_shown_kept_and_freed_by_a_running_swarm():
    """A service gets a port, keeps it through an update, and leaves it to the next one."""
    async with lab(managers=1, workers=1) as swarm:
        store = swarm.store

        def number(name: str) -> int:
            stored = store.services.get(f"id-{name}")
            ports = given(stored.endpoint.ports, []) if stored else []
            return given(ports[0].published_port, 0) if ports else 0

        for name in ("web", "api"):
            await store.commit(_creating(service(port(80), name=name)))
        await swarm.until(lambda: number("web") == 30000 and number("api") == 30001)
        await store.modify(
            store.services,
            "id-api",
            lambda s: replace(s, spec=replace(s.spec, labels={"changed": "yes"})),
        )
        await swarm.until(lambda: number("api") == 30001)
        tx = Transaction()
        tx.delete(store.services["id-web"])
        await store.commit(tx)
        await store.commit(_creating(service(port(80), name="new")))
        await swarm.until(lambda: number("new") == 30000)
        assert number("api") == 30001


@virtual
@pytest.mark.parametrize(
    ("theirs", "mine", "refusal"),
    [
        (port(80, 8080), port(81, 8080), "in use by service 'web' (id-web) as an ingress port"),
        (
            port(80, 8080, "host"),
            port(81, 8080),
            "in use by service 'web' (id-web) as a host-published port",
        ),
        (port(80, 8080, "host"), port(81, 8080, "host"), ""),
        (port(80, 8080), port(81, 8080, protocol="udp"), ""),
        (port(80), port(81, 30000), "port '30000' is already in use by service 'web'"),
    ],
)
async def test_of_two_services_that_want_a_port_the_later_is_refused_wherever_it_comes_from(
    theirs: PortConfig, mine: PortConfig, refusal: str
):
    """Two managers may both have accepted it: the log decides, with Docker's sentence."""
    async with lab(managers=1, workers=0) as swarm:
        store = swarm.store
        await store.commit(_creating(service(theirs)))
        await swarm.until(lambda: settled(store.services["id-web"]))
        if not refusal:
            await store.commit(_creating(service(mine, name="later")))
            return
        with pytest.raises(PortConflict) as caught:
            await store.commit(_creating(service(mine, name="later")))
        assert refusal in str(caught.value)
        assert store.services.get("id-later") is None


def _backends(swarm: Lab, node_id: str, number: int = 8080) -> list[str] | None:
    """Return the addresses that a node was told for a TCP port, None if it is not published."""
    port = swarm.agents[node_id].ports.get(("tcp", number))
    return sorted(f"{each.addr}:{each.port}" for each in port.backends) if port else None


def _on(swarm: Lab, *node_ids: str) -> list[str]:
    """Return where tasks on these nodes listen for target port 80."""
    return sorted(f"{swarm.store.nodes[n].status.addr}:40080" for n in node_ids)


def _replicas(count: int) -> Callable[[Service], Service]:
    mode = ServiceMode(replicated=ReplicatedMode(replicas=count))
    return lambda stored: replace(stored, spec=replace(stored.spec, mode=mode))


@virtual
async def test_every_node_is_told_where_the_tasks_run_that_are_wanted_and_nothing_else():
    """As they come, go, and lose their node; also nodes that join or change their manager."""
    async with lab(managers=3, workers=2) as swarm:
        nodes = list(swarm.agents)
        await swarm.store.commit(_creating(_replicas(5)(service(port(80, 8080)))))
        everywhere = _on(swarm, *nodes)
        await swarm.until(lambda: all(_backends(swarm, n) == everywhere for n in nodes))
        for node_id in nodes:
            await swarm.agents[node_id].break_session()
        await swarm.until(lambda: all(_backends(swarm, n) == everywhere for n in nodes))
        await swarm.agents["w1"].power_off()
        await swarm.until(lambda: "w1" not in _hosts(swarm, "m1"))
        rest = [n for n in nodes if n != "w1"]
        await swarm.store.modify(swarm.store.services, "id-web", _replicas(0))
        await swarm.until(lambda: all(_backends(swarm, n) == [] for n in rest))
        tx = Transaction()
        tx.delete(swarm.store.services["id-web"])
        await swarm.store.commit(tx)
        await swarm.until(lambda: all(_backends(swarm, n) is None for n in rest))


def _hosts(swarm: Lab, node_id: str) -> set[str]:
    """Return the nodes to which a node would pass connections on."""
    told = {each.partition(":")[0] for each in _backends(swarm, node_id) or ()}
    return {node.id for node in swarm.store.nodes if node.status.addr in told}


@virtual
async def test_a_task_leaves_every_table_before_its_agent_hears_that_it_shall_stop():
    """The table comes first, so that nobody is passed on to a task that stops."""
    async with lab(managers=1, workers=1) as swarm:
        agent = swarm.agents["w1"]
        heard: list[str] = []
        take = agent._take

        async def listen(data: bytes) -> None:
            frame = decode_manager_frame(data)
            if isinstance(frame, Ingress):
                heard.append(f"{sum(len(p.backends) for p in frame.ports)} backends")
            elif isinstance(frame, Assignments):
                heard.extend(task.desired_state.value for task in frame.tasks)
            await take(data)

        agent._take = listen  # type: ignore[method-assign]
        await swarm.store.commit(_creating(_replicas(2)(service(port(80, 8080)))))
        await swarm.until(lambda: len(_backends(swarm, "w1") or ()) == 2)
        heard.clear()
        await swarm.store.modify(swarm.store.services, "id-web", _replicas(0))
        await swarm.until(lambda: "remove" in heard)
        assert heard.index("0 backends") < heard.index("remove")


def _creating(new: Service) -> Transaction:
    tx = Transaction()
    tx.put(new)
    return tx
