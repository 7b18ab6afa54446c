"""What a service names stays while it does, whoever says what at once: the log decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from swarmops.model.network import Network, NetworkSpec
from swarmops.model.object import Object
from swarmops.model.secret import Config, ConfigSpec, Secret, SecretSpec
from swarmops.model.service import (
    ConfigReference,
    ContainerSpec,
    Driver,
    EndpointSpec,
    NetworkAttachmentConfig,
    PortConfig,
    SecretReference,
    Service,
    ServiceSpec,
    TaskSpec,
)
from swarmops.model.swarm import Cluster
from swarmops.store import (
    FileInUse,
    IngressMissing,
    IngressPresent,
    NetworkInUse,
    ReferenceMissing,
    Store,
    Transaction,
)
from swarmops.store.actions import Entry, PutService, encode
from swarmops.store.new_networks import placed
from tests.sim.memory_log import MemoryLog

AT = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
SECRET = Secret(id="s", spec=SecretSpec(name="key"))
CONFIG = Config(id="c", spec=ConfigSpec(name="conf"))


def network(network_id: str = "n", *, ingress: bool = False) -> Network:
    """Return an overlay network with a subnet of its own."""
    spec = NetworkSpec(name=network_id, driver_configuration=Driver(name="overlay"))
    subnet = Cluster(id="x", default_addr_pool=[f"10.{ord(network_id[-1])}.0.0/16"])
    found = placed(network_id, replace(spec, ingress=ingress), [], subnet)
    number = {"com.docker.network.driver.overlay.vxlanid_list": str(ord(network_id[-1]))}
    return replace(found, driver_state=Driver(name="overlay", options=number))


WITH_SECRET = TaskSpec(
    container_spec=ContainerSpec(secrets=[SecretReference(secret_id="s", secret_name="key")])
)
WITH_CONFIG = TaskSpec(
    container_spec=ContainerSpec(configs=[ConfigReference(config_id="c", config_name="conf")])
)
IN_NETWORK = TaskSpec(networks=[NetworkAttachmentConfig(target="n")])
PUBLISHING = EndpointSpec(ports=[PortConfig(target_port=80, published_port=80)])
CASES = [
    pytest.param(
        SECRET,
        ServiceSpec(name="web", task_template=WITH_SECRET),
        (FileInUse, "secret 'key' is in use by the following service: web"),
        (ReferenceMissing, "secret not found: key"),
        id="secret",
    ),
    pytest.param(
        CONFIG,
        ServiceSpec(name="web", task_template=WITH_CONFIG),
        (FileInUse, "config 'conf' is in use by the following service: web"),
        (ReferenceMissing, "config not found: conf"),
        id="config",
    ),
    pytest.param(
        network(),
        ServiceSpec(name="web", task_template=IN_NETWORK),
        (NetworkInUse, "network n is in use by service web"),
        (ReferenceMissing, "network n not found"),
        id="network",
    ),
    pytest.param(
        network("i", ingress=True),
        ServiceSpec(name="web", endpoint_spec=PUBLISHING),
        (NetworkInUse, "ingress network cannot be removed because service web depends on it"),
        (IngressMissing, "no ingress network is present"),
        id="ingress",
    ),
]
Refusal = tuple[type[Exception], str]


@pytest.fixture
def managers() -> tuple[Store, Store]:
    """Two replicas of one log, each of which is asked at once with the other."""
    log = MemoryLog(delay_s=0)
    stores = Store(now=lambda: AT), Store(now=lambda: AT)
    for store in stores:
        log.attach(store)
    return stores


async def put(store: Store, obj: Object, *, fence: int = 0) -> None:
    """Store an object."""
    tx = Transaction()
    tx.put(obj)
    await store.commit(tx, fence=fence)


async def remove(store: Store, obj: Object) -> None:
    """Remove an object as this replica has it."""
    tx = Transaction()
    tx.delete(obj)
    await store.commit(tx)


def stored(store: Store, obj: Object) -> Object:
    """Return the object as it is in the replica."""
    tables: dict[type, Callable[[str], Object | None]] = {
        Secret: store.secrets.get,
        Config: store.configs.get,
        Network: store.networks.get,
    }
    found = tables[type(obj)](obj.id)
    assert found
    return found


@pytest.mark.parametrize(("obj", "spec", "in_use", "missing"), CASES)
@pytest.mark.parametrize("removed_first", [False, True])
async def test_of_using_and_removing_at_once_the_later_is_refused(
    managers: tuple[Store, Store],
    obj: Object,
    spec: ServiceSpec,
    in_use: Refusal,
    missing: Refusal,
    *,
    removed_first: bool,
) -> None:
    """Both looked before either wrote; no service is left that names what is gone."""
    one, two = managers
    await put(one, obj)
    uses = put(one, Service(id="web", spec=spec))
    removes = remove(two, stored(two, obj))
    both = [removes, uses] if removed_first else [uses, removes]
    first, second = await asyncio.gather(*both, return_exceptions=True)
    kind, text = missing if removed_first else in_use
    assert first is None
    assert isinstance(second, kind)
    assert text in str(second)
    for store in managers:
        assert len(store.services) == (not removed_first)
        assert len(store.secrets) + len(store.configs) + len(store.networks) == (not removed_first)


@pytest.mark.parametrize(("obj", "spec", "in_use", "missing"), CASES)
async def test_what_no_service_names_any_more_may_go(
    managers: tuple[Store, Store], obj: Object, spec: ServiceSpec, in_use: Refusal, missing: Refusal
) -> None:
    """And a service can't go back to it then: a client is refused, a rollback by itself is not."""
    del in_use
    one, two = managers
    await put(one, obj)
    await put(one, Service(id="web", spec=spec))
    await put(one, replace(two.services["web"], spec=ServiceSpec(name="web")))
    await remove(two, stored(two, obj))
    back = replace(one.services["web"], spec=spec)
    with pytest.raises(missing[0], match=missing[1]):
        await put(one, back)
    await put(one, back, fence=await one.seize())
    # What it names already it may go on to name: only what is new must be there.
    labelled = replace(one.services["web"], spec=replace(spec, labels={"a": "b"}))
    await put(two, labelled)


async def test_of_two_ingress_networks_made_at_once_the_later_is_refused(
    managers: tuple[Store, Store],
) -> None:
    """A swarm has one."""
    one, two = managers
    making = put(one, network("i", ingress=True)), put(two, network("j", ingress=True))
    first, second = await asyncio.gather(*making, return_exceptions=True)
    assert first is None
    assert isinstance(second, IngressPresent)
    await put(two, one.networks["i"])


async def test_a_log_from_before_these_rules_gives_again_what_it_gave() -> None:
    """Else two managers of one swarm, one from its log and one from a snapshot, would differ."""
    store = Store()
    spec = ServiceSpec(name="web", task_template=WITH_SECRET)
    old = Entry(AT, False, [PutService(0, Service(id="web", spec=spec))])
    assert store.apply(1, encode(old)).failures == []
    assert "web" in store.services
