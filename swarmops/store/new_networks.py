"""Networks before they are stored: the subnet and number of each, and a swarm's first ones. Pure.

Used where the API creates one, and where a swarm is made.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from msgspec import UNSET

from swarmops.model.base import given
from swarmops.model.ids import new_id
from swarmops.model.network import (
    OVERLAY,
    PREDEFINED_LABEL,
    IPAMConfig,
    IPAMOptions,
    Network,
    NetworkSpec,
)
from swarmops.model.service import Driver
from swarmops.model.swarm import Cluster
from swarmops.store import subnets
from swarmops.store.errors import PoolsFull, SubnetConflict

IPAM_DRIVER = "default"
INGRESS = "ingress"
PREDEFINED = ("bridge", "host")


def placed(
    network_id: str, spec: NetworkSpec, others: Sequence[Network], cluster: Cluster
) -> Network:
    """Return the network with its subnets and its number.

    A subnet that is not named comes from the swarm's pools, which are of IPv4. Raises PoolsFull
    where they are used up, SubnetConflict where a named one is another network's.
    """
    options = given(spec.ipam_options, IPAMOptions())
    configs = [_with_gateway(config) for config in given(options.configs, [])]
    if not configs:
        configs = [_with_gateway(IPAMConfig(subnet=_free_subnet(others, cluster)))]
    driver = given(spec.driver_configuration, Driver())
    number = str(subnets.free_vxlan_id(others))
    network = Network(
        id=network_id,
        spec=spec,
        driver_state=Driver(
            name=OVERLAY, options={subnets.VXLAN_OPTION: number} | given(driver.options, {})
        ),
        ipam_options=IPAMOptions(driver=Driver(name=IPAM_DRIVER), configs=configs),
    )
    if text := subnets.conflict(network, others):
        raise SubnetConflict(text)
    return network


def _free_subnet(others: Iterable[Network], cluster: Cluster) -> str:
    pools = cluster.default_addr_pool or subnets.DEFAULT_POOLS
    found = subnets.free_subnet(pools, cluster.subnet_size, others)
    if found is None:
        raise PoolsFull
    return str(found)


def _with_gateway(config: IPAMConfig) -> IPAMConfig:
    """Give the subnet its gateway: the first address, if none was named."""
    if given(config.gateway, ""):
        return config
    subnet = subnets.subnet(given(config.subnet, ""))
    first = subnet.network_address + (1 if subnet.num_addresses > 1 else 0)
    return IPAMConfig(subnet=config.subnet, range=config.range, gateway=str(first))


def first_networks(cluster: Cluster, rng: random.Random) -> list[Network]:
    """Return what a new swarm has: the ingress network, and those that stand for every host's."""
    spec = NetworkSpec(
        name=INGRESS,
        labels={},
        driver_configuration=Driver(name=OVERLAY),
        ingress=True,
        ipam_options=IPAMOptions(),
        scope="swarm",
    )
    return [
        placed(new_id(rng), spec, [], cluster),
        *(_predefined(new_id(rng), name) for name in PREDEFINED),
    ]


def _predefined(network_id: str, name: str) -> Network:
    driver = Driver(name=name)
    spec = NetworkSpec(
        name=name,
        labels={PREDEFINED_LABEL: "true"},
        driver_configuration=driver,
        scope="swarm",
    )
    return Network(id=network_id, spec=spec, driver_state=driver, ipam_options=UNSET)
