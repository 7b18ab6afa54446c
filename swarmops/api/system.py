"""``/_ping``, ``/version`` and ``/info``: what this node is. They answer in every state."""

from __future__ import annotations

import platform

from aiohttp import web
from msgspec.structs import replace

from swarmops.api.control import HostFacts, NodeControl
from swarmops.api.engine import ENGINE
from swarmops.api.engine_facts import merged_info, merged_version
from swarmops.api.errors import NO_LEADER
from swarmops.api.render import swarm_without_tokens
from swarmops.api.reply import reply
from swarmops.api.route import Route, node_of
from swarmops.api.version import API_VERSION, API_VERSION_MIN
from swarmops.errors import SwarmopsError
from swarmops.model.base import given, to_builtins
from swarmops.model.node import Role
from swarmops.model.object import ObjectVersion
from swarmops.model.swarm import Cluster, SwarmInfo
from swarmops.model.system import SystemInfo, SystemVersion, VersionComponent, VersionPlatform
from swarmops.store import Store


async def ping(request: web.Request) -> web.StreamResponse:
    """``GET`` and ``HEAD /_ping``."""
    node = node_of(request)
    body = "" if request.method == "HEAD" else "OK"
    builder = (await request.app[ENGINE].ping(request)).get("Builder-Version")
    return web.Response(
        text=body,
        headers={
            **({"Builder-Version": builder} if builder else {}),
            "Content-Length": str(len(body)),
            "Cache-Control": "no-cache, no-store, must-revalidate",
            "Pragma": "no-cache",
            "Swarm": _swarm_status(node),
        },
    )


async def version(request: web.Request) -> web.StreamResponse:
    """``GET /version``; behind a Docker Engine it is the engine's, ours a component of it."""
    engines = await request.app[ENGINE].facts(request, "/version")
    return reply(merged_version(to_builtins(_version(node_of(request).facts)), engines))


def _version(facts: HostFacts) -> SystemVersion:
    arch = _go_architecture(facts.architecture)
    details = {
        "ApiVersion": API_VERSION,
        "Arch": arch,
        "BuildTime": facts.build_time,
        "Experimental": "false",
        "GitCommit": facts.git_commit,
        "GoVersion": "",
        "KernelVersion": facts.kernel_version,
        "MinAPIVersion": API_VERSION_MIN,
        "Os": "linux",
        "PythonVersion": platform.python_version(),
    }
    return SystemVersion(
        platform=VersionPlatform(name="swarmops"),
        components=[VersionComponent(name="Engine", version=facts.version, details=details)],
        version=facts.version,
        api_version=API_VERSION,
        min_api_version=API_VERSION_MIN,
        git_commit=facts.git_commit,
        arch=arch,
        kernel_version=facts.kernel_version,
        build_time=facts.build_time,
    )


async def info(request: web.Request) -> web.StreamResponse:
    """``GET /info``; without a leader ``Swarm.Error`` says so and the cluster is empty."""
    node = node_of(request)
    engines = await request.app[ENGINE].facts(request, "/info")
    ours = _info(node, leader=await _leader_answers(node))
    return reply(merged_info(to_builtins(ours), engines))


async def _leader_answers(node: NodeControl) -> bool:
    """Wait until this manager's replica may be read; False where it may not."""
    if not node.is_manager():
        return False
    try:
        await node.read_barrier()
    except SwarmopsError:
        return False
    return True


def _info(node: NodeControl, *, leader: bool) -> SystemInfo:
    facts = node.facts
    return SystemInfo(
        id=node.node_id,
        driver=", ".join(facts.executors),
        plugins={"Volume": [], "Network": [], "Authorization": None, "Log": []},
        system_time=node.now(),
        kernel_version=facts.kernel_version,
        operating_system=facts.operating_system,
        architecture=facts.architecture,
        ncpu=facts.ncpu,
        mem_total=facts.memory_bytes,
        docker_root_dir=facts.data_dir,
        name=facts.hostname,
        labels=list(facts.labels),
        server_version=facts.version,
        runtimes={name: {"path": name} for name in facts.executors},
        default_runtime=facts.executors[0] if facts.executors else "",
        swarm=_swarm_info(node, leader=leader),
    )


def _swarm_status(node: NodeControl) -> str:
    state = node.state()
    if state != "active":
        return state
    return "active/manager" if node.is_manager() else "active/worker"


def _swarm_info(node: NodeControl, *, leader: bool) -> SwarmInfo:
    managers = node.remote_managers()
    store = node.store
    about = SwarmInfo(
        node_id=node.node_id,
        node_addr=node.node_addr,
        local_node_state=node.state(),
        control_available=store is not None and node.is_manager(),
        error=node.error(),
        remote_managers=managers or None,
    )
    return about if store is None else _with_cluster(about, store, leader=leader)


def _with_cluster(about: SwarmInfo, store: Store, *, leader: bool) -> SwarmInfo:
    if not leader or store.cluster is None:
        return replace(
            about,
            error=about.error or f"rpc error: code = Unknown desc = {NO_LEADER}",
            nodes=0,
            managers=0,
            cluster=Cluster(id="", version=ObjectVersion()),
        )
    managers = sum(1 for one in store.nodes if given(one.manager_status, None) is not None)
    return replace(
        about,
        nodes=len(store.nodes),
        managers=managers or len(store.nodes.by_role(Role.MANAGER)),
        cluster=swarm_without_tokens(store.cluster),
    )


def _go_architecture(machine: str) -> str:
    """Return Go's name of the architecture, which clients expect."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


ROUTES = [
    Route("HEAD", "/_ping", ping),
    Route("GET", "/_ping", ping),
    Route("GET", "/version", version),
    Route("GET", "/info", info),
]
