"""The API's swarm part, typed: one method an endpoint, the model's structs in and out.

Used by backends, fleet and CLI. Every method raises ``ApiError`` on an answer that is no success
and ``UnreachableError`` where there is none; nothing is retried here but ``change_*``, which read,
change and write an object until nobody came between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Self
from urllib.parse import quote

import msgspec

from swarmops.client.answers import Info, Ping, Version
from swarmops.client.calls import Calls, check
from swarmops.client.logs import LogEntry, entries
from swarmops.client.transport import TIMEOUT_S, Answer, Connect, Transport
from swarmops.model.access import AccessPortRequest, AccessReply, AccessRequest, AccessState
from swarmops.model.network import NetworkCreate, NetworkResource
from swarmops.model.node import Node, NodeSpec
from swarmops.model.secret import Config, ConfigSpec, Secret, SecretSpec
from swarmops.model.service import Service, ServiceSpec
from swarmops.model.swarm import Cluster, InitRequest, JoinRequest, SwarmSpec
from swarmops.model.task import Task

Filters = Mapping[str, Sequence[str]]
"""Values of one key are alternatives, keys narrow each other: ``{"service": ["web"]}``."""


class Client:
    """One host's API. ``name`` is what errors call it; close it, or use it in ``with``."""

    def __init__(
        self, connect: Connect, *, name: str = "localhost", timeout_s: float = TIMEOUT_S
    ) -> None:
        self.name = name
        self._transport = Transport(connect, name=name, timeout_s=timeout_s)
        self._calls = Calls(self._transport, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    # -- the engine

    def ping(self) -> Ping:
        """Say whether somebody is there, and in which state its swarm part is."""
        headers = self._calls.call("GET", "/_ping").headers
        return Ping(api_version=headers.get("api-version", ""), swarm=headers.get("swarm", ""))

    def version(self) -> Version:
        """Return what serves the socket."""
        return self._calls.get("/version", Version)

    def info(self) -> Info:
        """Return the host and its part in the swarm; answered by every node."""
        return self._calls.get("/info", Info)

    # -- the swarm

    def swarm(self) -> Cluster:
        """Return the swarm with its join tokens; managers only."""
        return self._calls.get("/swarm", Cluster)

    def init(self, request: InitRequest) -> str:
        """Make a swarm of this host alone; return its node ID."""
        return msgspec.json.decode(
            self._calls.call("POST", "/swarm/init", body=request).body, type=str
        )

    def join(self, request: JoinRequest) -> None:
        """Make this host a member of an existing swarm."""
        self._calls.call("POST", "/swarm/join", body=request)

    def leave(self, *, force: bool = False) -> None:
        """Take this host out of its swarm; ``force`` also where it is a manager."""
        self._calls.call("POST", "/swarm/leave", {"force": "1"} if force else None)

    def update_swarm(
        self,
        version: int,
        spec: SwarmSpec,
        *,
        rotate_worker_token: bool = False,
        rotate_manager_token: bool = False,
    ) -> None:
        """Replace the swarm's settings, and its join tokens if asked."""
        query = {"version": str(version)}
        if rotate_worker_token:
            query["rotateWorkerToken"] = "true"
        if rotate_manager_token:
            query["rotateManagerToken"] = "true"
        self._calls.call("POST", "/swarm/update", query, spec)

    # -- nodes

    def nodes(self, filters: Filters | None = None) -> list[Node]:
        """Return the swarm's nodes."""
        return self._calls.get("/nodes", list[Node], _filters(filters))

    def node(self, node_id: str) -> Node:
        """Return one node by its ID, hostname or unique prefix of the ID."""
        return self._calls.get(f"/nodes/{_quoted(node_id)}", Node)

    def update_node(self, node_id: str, version: int, spec: NodeSpec) -> None:
        """Replace what is wanted of a node, if it still has this version."""
        self._calls.call(
            "POST", f"/nodes/{_quoted(node_id)}/update", {"version": str(version)}, spec
        )

    def change_node(self, node_id: str, change: Callable[[NodeSpec], NodeSpec]) -> bool:
        """Apply a change to what is wanted of a node; return whether there was anything to do."""
        return self._calls.change(self.node, self.update_node, node_id, change)

    def remove_node(self, node_id: str, *, force: bool = False) -> None:
        """Forget a node; it must be down, or the removal forced."""
        self._calls.call("DELETE", f"/nodes/{_quoted(node_id)}", {"force": "1"} if force else None)

    # -- services and tasks

    def services(self, filters: Filters | None = None, *, status: bool = False) -> list[Service]:
        """Return the services, with counts of their tasks if ``status``."""
        query = _filters(filters) | ({"status": "true"} if status else {})
        return self._calls.get("/services", list[Service], query)

    def service(self, service_id: str, *, insert_defaults: bool = False) -> Service:
        """Return one service by its ID, name or unique prefix of the ID."""
        query = {"insertDefaults": "true"} if insert_defaults else {}
        return self._calls.get(f"/services/{_quoted(service_id)}", Service, query)

    def create_service(self, spec: ServiceSpec, *, registry_auth: str = "") -> str:
        """Create a service; return its ID. ``registry_auth`` is shown to its image's registry."""
        return self._calls.create("/services/create", spec, _registry(registry_auth))

    def update_service(
        self,
        service_id: str,
        version: int,
        spec: ServiceSpec,
        *,
        rollback: bool = False,
        registry_auth: str = "",
    ) -> None:
        """Replace what is wanted of a service, if it still has this version.

        Without ``registry_auth`` it keeps the one that it has.
        """
        query = {"version": str(version)} | ({"rollback": "previous"} if rollback else {})
        path = f"/services/{_quoted(service_id)}/update"
        self._calls.call("POST", path, query, spec, _registry(registry_auth))

    def rebalance_service(self, service: Service) -> None:
        """Let tasks of a service move until they are spread evenly, if it has this version still.

        Docker's engine ignores the wish: whether it was heard, the service's update status says.
        """
        query = {"version": str(service.version.index), "rebalance": "true"}
        self._calls.call("POST", f"/services/{_quoted(service.id)}/update", query, service.spec)

    def change_service(self, service_id: str, change: Callable[[ServiceSpec], ServiceSpec]) -> bool:
        """Apply a change to a service's spec; return whether there was anything to do."""
        return self._calls.change(self.service, self.update_service, service_id, change)

    def remove_service(self, service_id: str) -> None:
        """Remove a service; its tasks stop afterwards."""
        self._calls.call("DELETE", f"/services/{_quoted(service_id)}")

    def tasks(self, filters: Filters | None = None) -> list[Task]:
        """Return tasks, ended ones included as long as they are kept."""
        return self._calls.get("/tasks", list[Task], _filters(filters))

    def task(self, task_id: str) -> Task:
        """Return one task."""
        return self._calls.get(f"/tasks/{_quoted(task_id)}", Task)

    def service_logs(
        self,
        service_id: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: str = "",
        timestamps: bool = False,
    ) -> Iterator[LogEntry]:
        """Iterate over the output of a service's tasks, from all nodes, as it comes.

        ``since`` is Unix seconds or RFC 3339. Raises ``IncompleteLogsError`` at the end if some of
        it could not be read.
        """
        query = {"stdout": "1", "stderr": "1", "details": "1"}
        query["tail"] = "all" if tail is None else str(tail)
        query |= {"follow": "1"} if follow else {}
        query |= {"since": since} if since else {}
        query |= {"timestamps": "1"} if timestamps else {}
        framed = True

        def begun(answer: Answer) -> None:
            nonlocal framed
            check(answer)
            framed = "raw-stream" not in answer.headers.get("content-type", "")

        pieces = self._transport.stream(f"/services/{_quoted(service_id)}/logs", query, begun)
        first = next(pieces, b"")
        if not framed:
            yield LogEntry(1, first)
            yield from (LogEntry(1, piece) for piece in pieces)
            return
        yield from entries(chain((first,), pieces), timestamps=timestamps)

    # -- secrets and configs

    def secrets(self, filters: Filters | None = None) -> list[Secret]:
        """Return the secrets, without what they hold."""
        return self._calls.get("/secrets", list[Secret], _filters(filters))

    def configs(self, filters: Filters | None = None) -> list[Config]:
        """Return the configs."""
        return self._calls.get("/configs", list[Config], _filters(filters))

    def create_secret(self, spec: SecretSpec) -> str:
        """Create a secret; return its ID."""
        return self._calls.create("/secrets/create", spec)

    def create_config(self, spec: ConfigSpec) -> str:
        """Create a config; return its ID."""
        return self._calls.create("/configs/create", spec)

    def remove_secret(self, secret_id: str) -> None:
        """Remove a secret that no service uses."""
        self._calls.call("DELETE", f"/secrets/{_quoted(secret_id)}")

    def remove_config(self, config_id: str) -> None:
        """Remove a config that no service uses."""
        self._calls.call("DELETE", f"/configs/{_quoted(config_id)}")

    def revealed_secrets(self) -> list[Secret]:
        """Return the secrets with what they hold: swarmops' own managers alone, to root."""
        return self._calls.get("/swarmops/secrets", list[Secret])

    # -- people who use the API over the network

    def access(self) -> AccessState:
        """Return where the API is served over the network, and to whom."""
        return self._calls.get("/access", AccessState)

    def serve_over_network(self, wanted: AccessPortRequest) -> None:
        """Serve the API over the network, on every manager; port 0: no longer."""
        self._calls.call("POST", "/access/update", body=wanted)

    def grant_access(self, wanted: AccessRequest) -> AccessReply:
        """Let a person in; return the certificate."""
        answer = self._calls.call("POST", "/access/create", body=wanted)
        return msgspec.json.decode(answer.body, type=AccessReply)

    def revoke_access(self, name: str) -> None:
        """Let a person in no longer."""
        self._calls.call("DELETE", f"/access/{_quoted(name)}")

    # -- networks

    def networks(self) -> list[NetworkResource]:
        """Return the networks of swarm scope."""
        found = self._calls.get("/networks", list[NetworkResource], _filters({"scope": ["swarm"]}))
        return [one for one in found if one.scope == "swarm"]

    def create_network(self, wanted: NetworkCreate) -> str:
        """Create a network; return its ID."""
        body = self._calls.call("POST", "/networks/create", body=wanted).body
        return str(msgspec.json.decode(body)["Id"])


def _filters(filters: Filters | None) -> dict[str, str]:
    if not filters:
        return {}
    return {"filters": msgspec.json.encode({k: list(v) for k, v in filters.items()}).decode()}


def _registry(auth: str) -> dict[str, str]:
    return {"X-Registry-Auth": auth} if auth else {}


def _quoted(name: str) -> str:
    """Spell a name as one segment of a path, whatever is in it."""
    return quote(name, safe="")
