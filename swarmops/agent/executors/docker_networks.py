"""What a task's networks become on this node: the one place that turns attachments into plumbing.

Used by the container executors. A network of the swarm is a bridge of its name in this node's
engine, made for the first of its tasks here and removed after the last; a container joins it with
its aliases and has an address of the bridge's. That traffic crosses nodes, and that addresses are
those which the swarm gave, is for whoever replaces this file.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import structlog

from swarmops.agent.executors.base import TaskError, TemporaryError
from swarmops.agent.executors.docker_asks import node_networks
from swarmops.agent.executors.docker_engine import NODE_LABEL, Engine, NotFoundError
from swarmops.agent.work import Work
from swarmops.model.base import given
from swarmops.model.network import (
    NETWORK_ID_LABEL,
    Network,
    driver_of,
    is_predefined,
    name_of,
)
from swarmops.model.service import Driver, NetworkAttachmentConfig

BRIDGE = "bridge"
HOST = "host"
_MTU = "com.docker.network.driver.mtu"
"""The one option of an overlay that a bridge has as well."""
log = structlog.get_logger(__name__)


class Join(msgspec.Struct, frozen=True):
    """A network of the swarm that a container joins."""

    network: Network
    aliases: list[str]
    driver_opts: dict[str, str]

    @property
    def name(self) -> str:
        """The name of the bridge, which is the network's."""
        return name_of(self.network)

    @property
    def internal(self) -> bool:
        """Whether the network leads nowhere else."""
        return given(self.network.spec.internal, False)

    @property
    def endpoint(self) -> dict[str, Any]:
        """The container's place in the bridge, as the engine takes it."""
        opts = {"DriverOpts": self.driver_opts} if self.driver_opts else {}
        return {"Aliases": self.aliases, **opts}


def joins_of(work: Work) -> list[Join]:
    """Return the networks that the task's container joins, besides those of every host."""
    return [
        Join(each.network, _aliases(work, config), given(config.driver_opts, {}))
        for each in given(work.task.networks_attachments, [])
        if not _is_the_hosts(each.network)
        for config in [_config_of(work, each.network.id)]
    ]


def mode_of(work: Work) -> str:
    """Return the engine's network mode: empty where the engine shall choose.

    Published ports need a network that leads out: the engine's own, if none of the task's does.
    """
    attached = given(work.task.networks_attachments, [])
    hosts = [driver_of(each.network) for each in attached if _is_the_hosts(each.network)]
    if hosts:
        return hosts[0]
    joins = joins_of(work)
    if joins and work.ports and all(join.internal for join in joins):
        return BRIDGE
    return joins[0].name if joins else ""


def endpoints(work: Work) -> dict[str, Any]:
    """Return the networks that the container is made with: engines of before 25 take only one."""
    mode = mode_of(work)
    return {join.name: join.endpoint for join in joins_of(work) if join.name == mode}


def _is_the_hosts(network: Network) -> bool:
    return is_predefined(network) and driver_of(network) in (BRIDGE, HOST)


def _config_of(work: Work, network_id: str) -> NetworkAttachmentConfig:
    configs = given(work.task.spec.networks, [])
    found = (each for each in configs if each.target == network_id)
    return next(found, NetworkAttachmentConfig())


def _aliases(work: Work, config: NetworkAttachmentConfig) -> list[str]:
    """Return the names under which others find the container, its service's among them."""
    service = work.service_name
    own = [service, f"tasks.{service}"] if service else []
    return list(dict.fromkeys([*given(config.aliases, []), *own]))


class Networks:
    """The bridges of one node in its engine. Verbs may be called again after a crash."""

    def __init__(self, engine: Engine, address: str, node_id: str) -> None:
        self._engine = engine
        self._address = address
        self._node_id = node_id
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._preparing: Counter[str] = Counter()

    @asynccontextmanager
    async def there_for(self, work: Work) -> AsyncIterator[None]:
        """Have the task's bridges, and keep them while the block makes the container.

        Raises ``TaskError`` for a name that something else has, ``TemporaryError`` while it is that
        of a network of before.
        """
        joins = joins_of(work)
        ids = [join.network.id for join in joins]
        self._preparing.update(ids)
        try:
            for join in joins:
                async with self._locks[join.name]:
                    await self._ensure(join)
            yield
        finally:
            self._preparing.subtract(ids)

    async def connect(self, work: Work, found: dict[str, Any]) -> None:
        """Join what the container, as inspected, is not in yet."""
        there = found["NetworkSettings"].get("Networks") or {}
        for join in joins_of(work):
            if join.name not in there:
                await self._connect(work.name, join)

    async def left_by(self, work: Work) -> None:
        """Remove those bridges of the task that no container needs any more."""
        for join in joins_of(work):
            await self._remove_unused(join.name, join.network.id)

    async def clean(self) -> None:
        """Remove every bridge of this node that no container needs. Raises ``TemporaryError``."""
        for each in await node_networks(self._address, self._node_id):
            await self._remove_unused(each["Name"], each["Labels"].get(NETWORK_ID_LABEL, ""))

    async def _ensure(self, join: Join) -> None:
        found = await self._inspect(join.name)
        if found is not None and _id_of(found) not in ("", join.network.id):
            await self._remove_if_idle(found)
            found = await self._inspect(join.name)
        if found is None:
            await self._create(join)
        elif not _id_of(found):
            raise TaskError(
                f"this node's engine has a network {join.name} which is not the swarm's: "
                "remove it, or name the swarm's network otherwise"
            )
        elif _id_of(found) != join.network.id:
            raise TemporaryError(f"the former network {join.name} is still in use on this node")

    async def _create(self, join: Join) -> None:
        spec = join.network.spec
        options = given(given(spec.driver_configuration, Driver()).options, {})
        labels = given(spec.labels, {}) | {
            NETWORK_ID_LABEL: join.network.id,
            NODE_LABEL: self._node_id,
        }
        await self._engine.call(
            lambda client: client.create_network(
                join.name,
                driver=BRIDGE,
                options={key: value for key, value in options.items() if key == _MTU},
                check_duplicate=True,
                internal=join.internal,
                labels=labels,
            )
        )

    async def _connect(self, container: str, join: Join) -> None:
        await self._engine.call(
            lambda client: client.connect_container_to_network(
                container, join.name, aliases=join.aliases, driver_opt=join.driver_opts or None
            )
        )

    async def _remove_unused(self, name: str, network_id: str) -> None:
        async with self._locks[name]:
            found = await self._inspect(name)
            if found is not None and network_id and _id_of(found) == network_id:
                await self._remove_if_idle(found)

    async def _remove_if_idle(self, found: dict[str, Any]) -> None:
        """Remove a bridge unless a container, running or not, or a preparation has it."""
        name = found["Name"]
        if self._preparing[_id_of(found)]:
            return
        near = await self._engine.call(
            lambda client: client.containers(all=True, filters={"network": [name]})
        )
        if any(name in each["NetworkSettings"]["Networks"] for each in near):
            return
        try:
            await self._engine.call(lambda client: client.remove_network(found["Id"]))
        except NotFoundError:
            pass
        except TaskError as error:
            log.warning("a network's bridge stays", network=name, reason=str(error))

    async def _inspect(self, name: str) -> dict[str, Any] | None:
        try:
            return await self._engine.call(lambda client: client.inspect_network(name))
        except NotFoundError:
            return None


def _id_of(found: dict[str, Any]) -> str:
    """Return the ID of the swarm's network that the engine's one stands for, empty for none."""
    return str((found.get("Labels") or {}).get(NETWORK_ID_LABEL, ""))
