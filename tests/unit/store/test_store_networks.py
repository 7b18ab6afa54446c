"""What the store promises about networks: no subnet twice, and which one a new network gets."""

from __future__ import annotations

import random

import pytest

from swarmops.model.network import (
    IPAMConfig,
    IPAMOptions,
    Network,
    NetworkSpec,
    is_ingress,
    name_of,
    subnets,
)
from swarmops.model.service import Driver
from swarmops.model.swarm import Cluster
from swarmops.store import PoolsFull, Store, SubnetConflict, Transaction
from swarmops.store.new_networks import first_networks, placed
from swarmops.store.subnets import OVERLAPS, free_subnet, vxlan_ids

CLUSTER = Cluster(id="c")


def wanted(name: str, *texts: str, gateway: str = "") -> NetworkSpec:
    """Return the spec of a network with these subnets; none: from the pool."""
    configs = [
        IPAMConfig(subnet=text, **({"gateway": gateway} if gateway else {})) for text in texts
    ]
    return NetworkSpec(
        name=name,
        driver_configuration=Driver(name="overlay"),
        ipam_options=IPAMOptions(configs=configs),
    )


def having(*texts: str) -> list[Network]:
    """Return networks with one subnet each."""
    return [
        placed(f"n{number}", wanted(f"n{number}", text), [], CLUSTER)
        for number, text in enumerate(texts)
    ]


@pytest.mark.parametrize(
    ("pools", "size", "taken", "found"),
    [
        pytest.param(["10.0.0.0/8"], 24, [], "10.0.0.0/24", id="the first"),
        pytest.param(["10.0.0.0/8"], 24, ["10.0.0.0/24"], "10.0.1.0/24", id="the next"),
        pytest.param(["10.0.0.0/8"], 24, ["10.0.1.0/24"], "10.0.0.0/24", id="a gap"),
        pytest.param(["10.0.0.0/8"], 24, ["10.0.0.0/16"], "10.1.0.0/24", id="beyond a larger one"),
        pytest.param(["10.0.0.0/8"], 24, ["10.0.0.64/28"], "10.0.1.0/24", id="a smaller one in it"),
        pytest.param(
            ["10.0.0.0/8"],
            24,
            ["10.0.0.0/22", "10.0.1.0/24", "10.0.4.0/24"],
            "10.0.5.0/24",
            id="several, one in another",
        ),
        pytest.param(
            ["10.0.0.0/8"], 24, ["192.168.0.0/24"], "10.0.0.0/24", id="others don't count"
        ),
        pytest.param(
            ["10.1.0.0/30", "10.2.0.0/30"], 30, ["10.1.0.0/30"], "10.2.0.0/30", id="the second pool"
        ),
        pytest.param(["10.1.0.0/30"], 30, ["10.1.0.0/30"], "", id="nothing left"),
        pytest.param(["10.1.0.0/24"], 16, [], "", id="larger than the pool"),
        pytest.param(["10.0.0.0/8"], 24, ["fd00::/64"], "10.0.0.0/24", id="IPv6 is apart"),
    ],
)
def test_a_network_gets_the_first_subnet_of_the_pools_that_overlaps_none(
    pools: list[str], size: int, taken: list[str], found: str
):
    """The same input gives the same subnet."""
    subnet = free_subnet(pools, size, having(*taken))
    assert str(subnet or "") == found


def test_a_new_swarm_has_an_ingress_network_and_those_of_every_host():
    """Docker's first subnet and number."""
    ingress, *predefined = first_networks(CLUSTER, random.Random(1))
    assert (name_of(ingress), is_ingress(ingress), vxlan_ids(ingress)) == ("ingress", True, {4096})
    assert subnets(ingress) == [IPAMConfig(subnet="10.0.0.0/24", gateway="10.0.0.1")]
    assert [name_of(each) for each in predefined] == ["bridge", "host"]
    assert len({ingress.id, *(each.id for each in predefined)}) == 3


def test_a_named_gateway_is_kept_and_an_absent_one_is_the_first_address():
    """As in Docker."""
    named = placed("n", wanted("n", "10.9.0.0/24", gateway="10.9.0.7"), [], CLUSTER)
    assert subnets(named)[0].gateway == "10.9.0.7"
    assert subnets(placed("n", wanted("n", "10.9.0.5/24"), [], CLUSTER))[0].gateway == "10.9.0.1"


@pytest.mark.parametrize("theirs", ["10.0.0.0/24", "10.0.0.0/16", "10.0.0.128/25"])
def test_a_named_subnet_that_overlaps_another_networks_is_refused(theirs: str):
    """Docker accepts it, and then never gives the network an address."""
    with pytest.raises(SubnetConflict, match=OVERLAPS):
        placed("mine", wanted("mine", "10.0.0.0/24"), having(theirs), CLUSTER)


def test_subnets_of_one_network_must_not_overlap():
    """Whoever asked for it."""
    with pytest.raises(SubnetConflict):
        placed("mine", wanted("mine", "10.0.0.0/24", "10.0.0.0/25"), [], CLUSTER)


def test_a_full_pool_is_said():
    """In Docker's words."""
    small = Cluster(id="c", default_addr_pool=["10.5.0.0/30"], subnet_size=30)
    first = placed("one", wanted("one"), [], small)
    assert subnets(first)[0].subnet == "10.5.0.0/30"
    with pytest.raises(PoolsFull, match="could not find an available, non-overlapping IPv4"):
        placed("two", wanted("two"), [first], small)


async def test_of_two_managers_that_give_the_same_subnet_the_later_is_refused():
    """The log decides, on every replica alike; the number counts as well."""
    store = Store()
    index = 0

    async def propose(data: bytes) -> object:
        nonlocal index
        index += 1
        return store.apply(index, data)

    store.propose = propose
    one, two = (placed(each, wanted(each), [], CLUSTER) for each in ("one", "two"))
    await _put(store, one)
    with pytest.raises(SubnetConflict):
        await _put(store, two)
    with pytest.raises(SubnetConflict, match="vxlan id 4096"):
        await _put(store, placed("three", wanted("three", "10.77.0.0/24"), [], CLUSTER))
    await _put(store, placed("two", wanted("two"), list(store.networks), CLUSTER))
    assert [subnets(each)[0].subnet for each in store.networks] == ["10.0.0.0/24", "10.0.1.0/24"]


async def _put(store: Store, network: Network) -> None:
    tx = Transaction()
    tx.put(network)
    await store.commit(tx)
