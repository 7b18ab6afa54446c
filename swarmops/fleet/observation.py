"""What was seen of the fleet before a plan is made: each host, and the swarm if there is one.

``swarmops.fleet.facts`` gathers; the functions here only put together what it brought. The planner
reads the result and nothing else. Holds no secret: no join token, no key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from swarmops.backends.base import ApiFacts, Facts, Missing
from swarmops.client import Info
from swarmops.model.network import NetworkResource
from swarmops.model.node import Node
from swarmops.model.secret import Config, Secret
from swarmops.model.service import Service
from swarmops.model.swarm import SwarmInfo, SwarmSpec

HOST_LABEL = "swarmops.host"
"""Node label that keeps a node's name in the inventory."""


class HostView(msgspec.Struct, frozen=True, kw_only=True):
    """One host of the inventory as it was seen."""

    name: str
    error: str = ""
    """Why it can't be reached or used, one clause; empty: it can."""
    missing: tuple[Missing, ...] = ()
    """What the backend says it lacks: runtime, unit, process."""
    running: bool = False
    """The runtime answers on its socket, perhaps in an old release."""
    alive: bool = False
    """Its process lives, whether or not its socket answers."""
    silent: bool = False
    """It holds its socket and did not answer in time; then ``error`` says so."""
    release: str = ""
    """Of the runtime that runs, which may not be the one that is installed."""
    unit: str = ""
    """What keeps it running, and how that is: ``active``, ``failed``, ``supervised``."""
    had_state: bool = False
    """It has a data directory: a stopped runtime may be a member of a swarm."""
    lock_file: bool = False
    """An apply locked it before there was a swarm, and perhaps never came to its end."""
    swarm: SwarmInfo = SwarmInfo()
    """The ``Swarm`` part of ``/info``; inactive when the runtime doesn't run."""
    cluster_id: str = ""
    """The swarm's ID, known to managers only."""

    @property
    def usable(self) -> bool:
        """Something can be done on it."""
        return not self.error

    @property
    def state(self) -> str:
        """Docker's LocalNodeState."""
        return self.swarm.local_node_state


class SwarmView(msgspec.Struct, frozen=True, kw_only=True):
    """The swarm as one of its managers told it."""

    id: str
    seen_from: str
    """The host that was asked."""
    nodes: tuple[Node, ...] = ()
    services: tuple[Service, ...] = ()
    secrets: tuple[Secret, ...] = ()
    """Like ``configs`` and ``networks``: seen only where the playbook has some."""
    configs: tuple[Config, ...] = ()
    networks: tuple[NetworkResource, ...] = ()
    spec: SwarmSpec = SwarmSpec()
    """The swarm's settings; its labels hold the apply lock."""
    version: int = 0
    """``Version.Index`` that the settings were seen with."""
    now_s: float = 0.0
    """Unix seconds by the clock of the manager that was asked."""


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """The whole fleet as it was seen. ``hosts`` has every host of the inventory, by name."""

    hosts: dict[str, HostView]
    swarm: SwarmView | None = None
    """None: no manager answered, or there is no swarm yet."""
    swarm_error: str = ""
    """What a manager said that couldn't tell the swarm (no leader, locked)."""


def host_view(name: str, facts: Facts, missing: Iterable[Missing]) -> HostView:
    """Return the view of a host that was reached; msgspec.ValidationError for a bad answer."""
    swarm, cluster_id = SwarmInfo(), ""
    if facts.api is not None and facts.api.info is not None:
        swarm = msgspec.convert(facts.api.info.get("Swarm") or {}, SwarmInfo)
        cluster_id = str((facts.api.swarm or {}).get("ID", ""))
    if facts.silent:
        # Slow is not stopped: what it does in the swarm it may do well. A restart is a person's.
        return HostView(
            name=name, error=_silent(name), silent=True, had_state=facts.data_dir_exists
        )
    return HostView(
        name=name,
        missing=tuple(missing),
        running=facts.running,
        alive=facts.running or bool(facts.daemon_pid),
        release=_release(facts),
        unit=_unit(facts),
        had_state=facts.data_dir_exists,
        lock_file=facts.lock_file_exists,
        swarm=swarm,
        cluster_id=cluster_id,
    )


def build_observation(views: Iterable[HostView], answers: dict[str, ApiFacts]) -> Observation:
    """Put the hosts' views and their sockets' ``answers`` (by host) together.

    Of several managers the one with the newest data is believed; of several swarms the one that
    most managers are in.
    """
    hosts = {view.name: view for view in views}
    answers = {name: api for name, api in answers.items() if hosts[name].usable}
    # An answer that broke off lacks services that are there.
    whole = {name: api for name, api in answers.items() if _whole(api)}
    ids = [hosts[name].cluster_id for name in whole]
    if not ids:
        errors = [api.error for api in answers.values() if api.error]
        return Observation(hosts=hosts, swarm_error=errors[0] if errors else "")
    swarm_id = Counter(ids).most_common(1)[0][0]
    seen = [
        _swarm(swarm_id, name, api)
        for name, api in whole.items()
        if hosts[name].cluster_id == swarm_id
    ]
    return Observation(hosts=hosts, swarm=max(seen, key=_newest))


def manager_hosts(observation: Observation) -> list[str]:
    """Return the hosts whose nodes are managers, the one that told of the swarm first."""
    if observation.swarm is None:
        return []
    first = observation.swarm.seen_from
    hosts = [
        name
        for name, view in observation.hosts.items()
        if view.usable and view.state == "active" and view.swarm.control_available
    ]
    return sorted(hosts, key=lambda host: host != first)


def _release(facts: Facts) -> str:
    told = (facts.api.info if facts.api is not None else None) or {}
    return facts.running_release or str(told.get("ServerVersion", ""))


def _unit(facts: Facts) -> str:
    if facts.unit is not None and (facts.unit.digest or facts.unit.main_pid):
        return facts.unit.active + ("" if facts.unit.enabled else ", not enabled")
    return "supervised" if facts.supervisor_pid else ""


def _whole(api: ApiFacts) -> bool:
    return api.nodes is not None and api.error is None


def _silent(name: str) -> str:
    return (
        "its runtime runs, but does not answer on its socket in time: is the host overloaded? See"
        f" 'swarmops logs {name}', and restart the runtime there if it stays so"
    )


def _swarm(swarm_id: str, host: str, api: ApiFacts) -> SwarmView:
    return SwarmView(
        id=swarm_id,
        seen_from=host,
        nodes=tuple(msgspec.convert(api.nodes or [], list[Node])),
        services=tuple(msgspec.convert(api.services or [], list[Service])),
        secrets=tuple(msgspec.convert(api.secrets or [], list[Secret])),
        configs=tuple(msgspec.convert(api.configs or [], list[Config])),
        networks=tuple(
            msgspec.convert(one, NetworkResource)
            for one in api.networks or []
            if one.get("Scope") == "swarm"
        ),
        spec=msgspec.convert((api.swarm or {}).get("Spec") or {}, SwarmSpec),
        version=((api.swarm or {}).get("Version") or {}).get("Index", 0),
        now_s=msgspec.convert(api.info or {}, Info).system_time.timestamp(),
    )


def _newest(view: SwarmView) -> int:
    return max((obj.version.index for obj in (*view.nodes, *view.services)), default=0)
