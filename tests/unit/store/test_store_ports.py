"""Published ports in the store: who has one is looked up; who gets one is the same everywhere."""

from __future__ import annotations

from itertools import permutations

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.model.network import Network, NetworkSpec
from swarmops.model.service import Endpoint, EndpointSpec, PortConfig, Service, ServiceSpec
from swarmops.store import NameConflict, PortConflict, Store, Transaction
from swarmops.store.ports import Published, conflict
from swarmops.store.table import ServiceTable
from tests.sim.memory_log import MemoryLog


@pytest.fixture
async def store() -> Store:
    """Return a store with the network that published ports need."""
    store = Store()
    MemoryLog(delay_s=0).attach(store)
    tx = Transaction()
    tx.put(Network(id="i", spec=NetworkSpec(name="ingress", ingress=True)))
    await store.commit(tx)
    return store


def port(number: int, protocol: str = "tcp", mode: str = "ingress") -> PortConfig:
    """Return a published port."""
    return PortConfig(
        target_port=1, published_port=number, protocol=protocol, publish_mode=mode or UNSET
    )


def service(name: str, *ports: PortConfig, chosen: tuple[PortConfig, ...] = ()) -> Service:
    """Return a service whose spec names these ports, and that has the chosen ones."""
    spec = ServiceSpec(name=name, endpoint_spec=EndpointSpec(ports=list(ports)))
    return Service(id=f"id-{name}", spec=spec, endpoint=Endpoint(ports=list(chosen)))


async def put(store: Store, *services: Service) -> None:
    """Commit puts of these services."""
    tx = Transaction()
    for each in services:
        tx.put(each)
    await store.commit(tx)


def publishing(store: Store, number: int, protocol: str = "tcp") -> list[str]:
    """Return who publishes the port."""
    return [each.id for each in store.services.publishing(number, protocol)]


async def test_who_publishes_a_port_follows_every_change(store: Store):
    """Named or chosen, both at once, taken back, restored and removed; protocols are apart."""
    await put(store, service("a", port(80), port(81, mode="")), service("b", port(80, "udp")))
    await put(store, replace(store.services["id-b"], endpoint=Endpoint(ports=[port(30000)])))
    assert [publishing(store, n) for n in (80, 81, 30000)] == [["id-a"], ["id-a"], ["id-b"]]
    assert publishing(store, 80, "udp") == ["id-b"]
    moved = service("a", port(82), chosen=(port(80),))
    await put(store, replace(store.services["id-a"], spec=moved.spec, endpoint=moved.endpoint))
    assert [publishing(store, n) for n in (80, 81, 82)] == [["id-a"], [], ["id-a"]]
    tx = Transaction()
    tx.delete(store.services["id-a"])
    tx.put(service("c", port(80)))
    tx.put(service("d", port(83)))
    tx.put(service("B"))
    with pytest.raises(NameConflict):
        await store.commit(tx)
    assert [publishing(store, n) for n in (80, 82, 83)] == [["id-a"], ["id-a"], []]
    other = Store()
    other.restore(store.snapshot())
    assert [publishing(other, n) for n in (80, 82, 30000)] == [["id-a"], ["id-a"], ["id-b"]]
    tx = Transaction()
    tx.delete(store.services["id-a"])
    await store.commit(tx)
    assert publishing(store, 80) == publishing(store, 82) == []


async def test_a_port_is_refused_by_the_service_that_has_it_alone(store: Store):
    """In Docker's words, whatever other services there are; in host mode both may have it."""
    await put(store, service("a", port(80)), service("h", port(90, mode="host")))
    with pytest.raises(PortConflict) as refused:
        await put(store, service("b", port(80, mode="host")))
    assert (
        str(refused.value) == "port '80' is already in use by service 'a' (id-a) as an ingress port"
    )
    with pytest.raises(PortConflict, match=r"'h' \(id-h\) as a host-published port$"):
        await put(store, service("b", port(90)))
    await put(store, service("b", port(90, mode="host"), port(80, "udp")))
    assert publishing(store, 90) == ["id-h", "id-b"]


@pytest.mark.parametrize("wanted", list(permutations(["host", "ingress"])))
def test_a_port_in_both_modes_is_refused_in_whatever_order_a_replica_sees_them(
    wanted: tuple[str, ...],
):
    """A service on its way from host to ingress mode has both: sets have no order."""
    services = ServiceTable()
    services.replace("id-h", service("h", port(80, mode="host")))
    ports = [Published(80, "tcp", mode) for mode in wanted]
    assert "port '80' is already in use" in conflict(ports, "id-a", services)
