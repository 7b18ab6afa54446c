"""What the swarm promises about addresses in its networks: given once, kept, freed, waited for."""

from __future__ import annotations

from collections import Counter

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.manager.addresses import AddressBook, Giving, pools_of
from swarmops.model.base import given
from swarmops.model.network import (
    IPAMConfig,
    IPAMOptions,
    Network,
    NetworkAttachment,
    NetworkSpec,
    name_of,
)
from swarmops.model.service import (
    ContainerSpec,
    Endpoint,
    EndpointSpec,
    NetworkAttachmentConfig,
    PortConfig,
    Service,
    TaskSpec,
    VirtualIP,
)
from swarmops.model.swarm import Cluster
from swarmops.model.task import Task, TaskState, TaskStatus
from swarmops.store import Transaction
from swarmops.store.networking import ingress_of, lacks_addresses
from swarmops.store.new_networks import placed
from tests.sim.manager_lab import Lab, lab
from tests.sim.virtual_loop import virtual


def network(subnet: str, **config: str) -> Network:
    """Return a network of one subnet."""
    return Network(
        id="net",
        ipam_options=IPAMOptions(configs=[IPAMConfig(subnet=subnet, **config)]),
    )


def holding(address: str, state: TaskState = TaskState.RUNNING) -> Task:
    """Return a task that has an address."""
    return Task(
        id=f"t-{address}",
        status=TaskStatus(state=state),
        networks_attachments=[NetworkAttachment(network=Network(id="net"), addresses=[address])],
    )


@pytest.mark.parametrize(
    ("where", "addresses"),
    [
        pytest.param(
            network("10.0.1.0/29", gateway="10.0.1.1"),
            ["10.0.1.2/29", "10.0.1.3/29", "10.0.1.4/29", "10.0.1.5/29", "10.0.1.6/29", ""],
            id="all but its own, the gateway's and the broadcast address",
        ),
        pytest.param(
            network("10.0.1.0/29", gateway="10.0.1.5", range="10.0.1.4/30"),
            ["10.0.1.4/29", "10.0.1.6/29", ""],
            id="of the range alone",
        ),
    ],
)
def test_a_step_gives_each_free_address_once(where: Network, addresses: list[str]):
    """From the lowest on, with the subnet's prefix length; then it says that none is left."""
    giving = Giving(AddressBook())
    assert [giving.take(where) for _ in addresses] == addresses


def test_what_services_and_tasks_hold_is_taken_until_they_let_go():
    """Ended tasks hold nothing; what was freed is given again."""
    where = network("10.0.1.0/24", gateway="10.0.1.1")
    service = Service(
        id="s", endpoint=Endpoint(virtual_ips=[VirtualIP(network_id="net", addr="10.0.1.2/24")])
    )
    ended = holding("10.0.1.4/24", TaskState.FAILED)
    book = AddressBook([service, holding("10.0.1.3/24"), ended])
    assert Giving(book).take(where) == "10.0.1.4/24"
    assert book.note(None, holding("10.0.1.4/24")) is False
    assert Giving(book).take(where) == "10.0.1.5/24"
    assert book.note(holding("10.0.1.3/24"), holding("10.0.1.3/24", TaskState.SHUTDOWN)) is True
    assert Giving(book).take(where) == "10.0.1.3/24"
    assert book.note(service, None) is True
    assert Giving(book).take(where) == "10.0.1.2/24"


def test_giving_from_a_large_network_stays_cheap():
    """The lowest free address is not searched from the beginning each time."""
    where = network("10.0.0.0/16", gateway="10.0.0.1")
    book = AddressBook(holding(f"10.0.{n // 256}.{n % 256}/16") for n in range(2, 10_000))
    assert Giving(book).take(where) == "10.0.39.16/16"
    looked_at = 0

    class Counted(frozenset[int]):
        def __contains__(self, number: object) -> bool:
            nonlocal looked_at
            looked_at += 1
            return super().__contains__(number)

    [pool] = pools_of(where)
    counted = type(pool)(pool.first, pool.last, Counted(pool.reserved), 16, 4)
    assert book.first_free("net", [counted], 0) is not None
    assert looked_at == 1


async def _network(swarm: Lab, name: str, subnet: str = "") -> str:
    """Create a network as the API does; return its ID."""
    configs = [IPAMConfig(subnet=subnet)] if subnet else UNSET
    spec = NetworkSpec(name=name, ipam_options=IPAMOptions(configs=configs))
    made = placed(
        f"id-{name}", spec, list(swarm.store.networks), swarm.store.cluster or Cluster(id="")
    )
    tx = Transaction()
    tx.put(made)
    await swarm.store.commit(tx)
    return made.id


def _spec(*networks: str) -> TaskSpec:
    targets = [NetworkAttachmentConfig(target=each) for each in networks]
    return TaskSpec(container_spec=ContainerSpec(image="busybox"), networks=targets)


def _addresses(swarm: Lab, service_id: str) -> list[str]:
    """Return the addresses of the service's tasks that have not ended."""
    return sorted(
        text
        for task in swarm.store.tasks.by_service(service_id)
        if not task.status.state.terminal
        for each in given(task.networks_attachments, [])
        for text in given(each.addresses, [])
    )


def _virtual(swarm: Lab, service_id: str) -> list[tuple[str, str]]:
    found = given(swarm.store.services[service_id].endpoint.virtual_ips, [])
    return [(each.network_id, given(each.addr, "")) for each in found]


@virtual
async def test_a_swarm_without_networks_gets_its_first_ones():
    """One of before there were networks: the leader makes them, once."""
    async with lab(managers=3, workers=0) as swarm:
        await swarm.until(lambda: len(swarm.store.networks) == 3)
        swarm.lead("m2")
        await swarm.until(lambda: "allocator" in swarm.managers["m2"].running_loops)
        assert sorted(map(name_of, swarm.store.networks)) == ["bridge", "host", "ingress"]


@virtual
async def test_tasks_and_services_get_addresses_of_their_own_and_run():
    """Each task in each network, the service before them; no address twice."""
    async with lab(managers=1, workers=3) as swarm:
        front, back = await _network(swarm, "front"), await _network(swarm, "back", "10.9.0.0/24")
        await swarm.create("web", 3, _spec(front, back))
        await swarm.create("db", 2, _spec(back))
        await swarm.until(lambda: len(swarm.running_on("web") + swarm.running_on("db")) == 5)
        given_away = [
            *(address for name in ("web", "db") for _, address in _virtual(swarm, name)),
            *_addresses(swarm, "web"),
            *_addresses(swarm, "db"),
        ]
        assert len(given_away) == 3 + 6 + 2
        assert max(Counter(given_away).values()) == 1
        assert [each for each, _ in _virtual(swarm, "web")] == [front, back]
        assert all(each.startswith(("10.0.1.", "10.9.0.")) for each in given_away)


@virtual
async def test_an_update_keeps_the_virtual_ip_and_another_network_brings_another():
    """Connections to the service's address outlive its tasks."""
    async with lab(managers=1, workers=2) as swarm:
        front, back = await _network(swarm, "front"), await _network(swarm, "back")
        await swarm.create("web", 1, _spec(front))
        await swarm.until(lambda: swarm.running_on("web") != [])
        [before] = _virtual(swarm, "web")
        await swarm.change("web", lambda spec: replace(spec, task_template=_spec(back, front)))
        await swarm.until(lambda: len(_virtual(swarm, "web")) == 2)
        assert _virtual(swarm, "web")[1] == before
        await swarm.until(lambda: len(_addresses(swarm, "web")) == 2)
        await swarm.change("web", lambda spec: replace(spec, task_template=_spec(back)))
        await swarm.until(lambda: [each for each, _ in _virtual(swarm, "web")] == [back])


@virtual
async def test_a_service_in_mode_dnsrr_has_no_virtual_ip():
    """Its tasks have addresses all the same; a published port alone gives one in ingress."""
    async with lab(managers=1, workers=1) as swarm:
        front = await _network(swarm, "front")
        tx = Transaction()
        stored = swarm.store.services
        await swarm.create("web", 1, _spec(front))
        ports = [PortConfig(target_port=80, published_port=8080)]
        tx.put(
            Service(
                id="plain",
                spec=replace(
                    stored["web"].spec,
                    name="plain",
                    task_template=_spec(),
                    endpoint_spec=EndpointSpec(ports=ports),
                ),
            )
        )
        await swarm.store.commit(tx)
        await swarm.change(
            "web", lambda spec: replace(spec, endpoint_spec=EndpointSpec(mode="dnsrr"))
        )
        ingress = ingress_of(swarm.store.networks)
        assert ingress is not None
        await swarm.until(lambda: [each for each, _ in _virtual(swarm, "plain")] == [ingress.id])
        await swarm.until(
            lambda: _virtual(swarm, "web") == [] and len(_addresses(swarm, "web")) == 1
        )


@virtual
async def test_tasks_wait_for_a_full_network_and_say_so():
    """Five addresses, two of them virtual IPs, for four tasks; then a service goes."""
    async with lab(managers=1, workers=2) as swarm:
        small = await _network(swarm, "small", "10.8.0.0/29")
        await swarm.create("other", 0, _spec(small))
        await swarm.until(lambda: _virtual(swarm, "other") != [])
        await swarm.create("web", 4, _spec(small))
        await swarm.until(lambda: len(swarm.running_on("web")) == 3)
        [waiting] = [task.id for task in swarm.store.tasks if lacks_addresses(task)]
        tasks = swarm.store.tasks
        text = "no address is free in network small"
        await swarm.until(lambda: tasks[waiting].status.err == text)
        assert tasks[waiting].status.state is TaskState.NEW
        tx = Transaction()
        tx.delete(swarm.store.services["other"])
        await swarm.store.commit(tx)
        await swarm.until(lambda: tasks[waiting].status.state is TaskState.RUNNING)


@virtual
async def test_networks_of_every_host_give_no_addresses():
    """They are named in the service's endpoint and in its tasks."""
    async with lab(managers=1, workers=1) as swarm:
        await swarm.until(lambda: len(swarm.store.networks) == 3)
        host = swarm.store.networks.named("host")
        assert host is not None
        await swarm.create("web", 1, _spec(host.id))
        await swarm.until(lambda: swarm.running_on("web") != [])
        assert _virtual(swarm, "web") == [(host.id, "")]
        [task] = swarm.store.tasks
        [attached] = given(task.networks_attachments, [])
        assert (name_of(attached.network), attached.addresses) == ("host", UNSET)


@virtual
async def test_a_new_leader_gives_no_address_again():
    """It reads from the store what is taken."""
    async with lab(managers=3, workers=3) as swarm:
        front = await _network(swarm, "front")
        await swarm.create("web", 3, _spec(front))
        await swarm.until(lambda: len(swarm.running_on("web")) == 3)
        swarm.lead("m2", told_after_s=0.5)
        await swarm.create("api", 3, _spec(front))
        await swarm.until(lambda: len(swarm.running_on("api")) == 3)
        given_away = [
            *(address for name in ("web", "api") for _, address in _virtual(swarm, name)),
            *_addresses(swarm, "web"),
            *_addresses(swarm, "api"),
        ]
        assert len(given_away) == len(set(given_away)) == 8


@virtual
async def test_an_agent_hears_all_of_its_tasks_networks():
    """The store's task knows a network's name; who shall join it needs the rest."""
    async with lab(managers=1, workers=1) as swarm:
        front = await _network(swarm, "front")
        await swarm.create("web", 1, _spec(front))
        await swarm.until(lambda: swarm.running_on("web") != [])
        [task] = swarm.store.tasks
        [kept] = given(task.networks_attachments, [])
        assert kept.network.ipam_options is UNSET
        [told] = given(
            swarm.agents[given(task.node_id, "")].tasks[task.id].networks_attachments, []
        )
        assert told.network == swarm.store.networks[front]
