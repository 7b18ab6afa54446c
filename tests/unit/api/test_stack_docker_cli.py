"""The real docker CLI's `stack` and `network` commands against the API on a unix socket."""

# ruff: noqa: F811 - arguments are the fixtures of the same names

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from swarmops.api import make_app
from swarmops.model.base import given
from swarmops.model.object import Object
from swarmops.pki.root import new_root
from swarmops.store import Store
from tests.unit.api.fake_node import FakeNode
from tests.unit.api.test_docker_cli import (
    Cli,
    docker,  # noqa: F401 - a fixture
    orchestrated,
    pytestmark,  # noqa: F401 - left out without a docker CLI
    rows,
    swarm,  # noqa: F401 - a fixture
)

COMPOSE = """
version: "3.8"
services:
  web:
    image: busybox:1
    command: httpd -f
    environment: {A: b}
    networks: {front: {aliases: [www]}, back: {}}
    ports: ["8080:80"]
    secrets: [token, {source: token, target: /x/t, mode: 0400, uid: "3"}]
    configs: [{source: page, target: /www/index.html}]
    deploy:
      replicas: 2
      labels: {x: z}
      placement: {constraints: [node.role == manager]}
      update_config: {parallelism: 1, order: start-first}
      restart_policy: {condition: on-failure}
      resources: {limits: {memory: 20M}}
  api:
    image: busybox:1
    networks: [back]
  once:
    image: busybox:1
    command: "true"
networks:
  front: {driver: overlay, attachable: true, labels: {q: r}}
  back: {driver: overlay, internal: true}
configs: {page: {file: ./page}}
secrets: {token: {file: ./token}}
"""


@pytest.fixture(params=["/usr/local/bin/docker", "/usr/bin/docker"])
def either(request: pytest.FixtureRequest, swarm: Cli) -> Cli:
    """Each docker CLI of this machine, 20.10 among them."""
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param}")
    swarm._command = (request.param, *swarm._command[1:])
    return swarm


@pytest.fixture
def compose(tmp_path: Path) -> Path:
    """Write a stack of three services with their files."""
    (tmp_path / "page").write_text("hello\n")
    (tmp_path / "token").write_text("sesame\n")
    path = tmp_path / "stack.yml"
    path.write_text(COMPOSE)
    return path


def rewrite(compose: Path, text: str) -> None:
    """Change the file."""
    compose.write_text(text)


async def deploy(swarm: Cli, compose: Path, *more: str) -> str:
    """Deploy without asking a registry."""
    options = " ".join(("--resolve-image never", *more))
    return await swarm(f"stack deploy {options} -c {compose} st")


def store_of(swarm: Cli) -> Store:
    """Return the swarm's store."""
    assert swarm.node.store is not None
    return swarm.node.store


def versions(swarm: Cli) -> dict[str, int]:
    """Return the version of everything that a stack can have made."""
    store = store_of(swarm)
    found: list[Object] = [*store.services, *store.secrets, *store.configs, *store.networks]
    return {one.id: one.version.index for one in found}


async def test_a_stack_is_deployed_shown_and_removed(swarm: Cli, compose: Path):
    """`stack config|deploy|ls|services|ps|rm`: nothing is left but what was there before."""
    before = set(versions(swarm))
    assert "httpd" in await swarm(f"stack config -c {compose}")
    printed = await deploy(swarm, compose)
    for line in (
        "Creating network st_front",
        "Creating network st_back",
        "Creating secret st_token",
        "Creating config st_page",
        "Creating service st_web",
        "Creating service st_api",
        "Creating service st_once",
    ):
        assert line in printed
    assert rows(await swarm("stack ls")) == [["st", "3"]]
    services = {row[1]: row[2:] for row in rows(await swarm("stack services st"))}
    assert services["st_web"] == ["replicated", "0/2", "busybox:1", "*:8080->80/tcp"]
    only = await swarm("stack services -q --filter name=st_web st")
    assert len(only.split()) == 1
    async with orchestrated(swarm.node):
        listed = rows(await swarm("stack ps --filter desired-state=running st"))
        assert sorted(row[1] for row in listed) == ["st_api.1", "st_once.1", "st_web.1", "st_web.2"]
    printed = await swarm("stack rm st")
    assert printed.count("Removing") == 8
    assert set(versions(swarm)) == before
    assert "nosuch" in (await swarm.run("stack ps nosuch"))[1]


async def test_what_the_file_says_is_what_the_swarm_has(swarm: Cli, compose: Path):
    """Networks by name with aliases, files with owner and mode, the deploy keys."""
    await deploy(swarm, compose)
    [web] = json.loads(await swarm("service inspect st_web"))
    spec: dict[str, Any] = web["Spec"]
    networks = {one.spec.name: one.id for one in store_of(swarm).networks}
    joined = {one["Target"]: one["Aliases"] for one in spec["TaskTemplate"]["Networks"]}
    assert joined == {networks["st_front"]: ["www", "web"], networks["st_back"]: ["web"]}
    files = [one["File"] for one in spec["TaskTemplate"]["ContainerSpec"]["Secrets"]]
    assert {"Name": "/x/t", "UID": "3", "GID": "0", "Mode": 0o400} in files
    assert spec["Labels"]["x"] == "z"
    assert spec["UpdateConfig"]["Order"] == "start-first"
    assert spec["TaskTemplate"]["RestartPolicy"]["Condition"] == "on-failure"
    [front] = json.loads(await swarm("network inspect st_front"))
    assert (front["Attachable"], front["Labels"]["q"]) == (True, "r")
    [back] = json.loads(await swarm("network inspect st_back"))
    assert back["Internal"] is True


@pytest.mark.parametrize("resolve", ["always", "changed", "never"])
async def test_deploying_again_changes_nothing(either: Cli, compose: Path, resolve: str):
    """Not a version, so no event and no task: whatever digests are asked for."""
    swarm = either
    again = f"stack deploy --resolve-image {resolve} -c {compose} st"
    await swarm(again)
    before = versions(swarm)
    printed = await swarm(again)
    assert "Updating service st_web" in printed
    assert versions(swarm) == before


@pytest.fixture
async def pinned(tmp_path: Path) -> AsyncIterator[tuple[Cli, dict[str, str]]]:
    """A manager before an engine that finds each image's digest in this table."""
    digests: dict[str, str] = {}

    async def inspect(request: web.Request) -> web.Response:
        digest = digests[request.match_info["image"]]
        descriptor = {"mediaType": "application/vnd.oci.image.index.v1+json", "size": 1}
        platforms = [{"architecture": "amd64", "os": "linux"}]
        return web.json_response(
            {"Descriptor": descriptor | {"digest": digest}, "Platforms": platforms}
        )

    async def ping(_request: web.Request) -> web.Response:
        return web.Response(text="OK", headers={"Api-Version": "1.41"})

    engine = web.Application()
    engine.router.add_get("/v1.41/distribution/{image:.+}/json", inspect)
    engine.router.add_route("*", "/_ping", ping)
    node = FakeNode(new_root(datetime.now(UTC)).cert_pem)
    node.engine_socket = tmp_path / "engine.sock"
    async with AsyncExitStack() as stack:
        apps = ((engine, node.engine_socket), (make_app(node), tmp_path / "api.sock"))
        for app, socket in apps:
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.UnixSite(runner, socket).start()
            await asyncio.to_thread(socket.chmod, 0o666)
        cli = Cli(node, tmp_path / "api.sock", tmp_path / "config")
        await cli("swarm init --advertise-addr 10.0.0.1")
        yield cli, digests


async def test_a_stack_is_pinned_and_only_a_moved_tag_is_deployed_again(
    pinned: tuple[Cli, dict[str, str]], compose: Path
):
    """Each image by its digest, asked of the engine; what has the same digest isn't touched."""
    swarm, digests = pinned
    digests |= {"busybox:1": f"sha256:{'a' * 64}", "nginx:1": f"sha256:{'b' * 64}"}
    rewrite(
        compose, COMPOSE.replace("image: busybox:1\n    networks", "image: nginx:1\n    networks")
    )
    again = f"stack deploy --resolve-image always -c {compose} st"
    await swarm(again)
    before = versions(swarm)
    await swarm(again)
    assert versions(swarm) == before
    digests["nginx:1"] = f"sha256:{'c' * 64}"
    await swarm(again)
    names = {one.id: given(one.spec.name, "") for one in store_of(swarm).services}
    after = versions(swarm)
    assert [names[one] for one in before if after[one] != before[one]] == ["st_api"]
    shown = await swarm(
        "service inspect --format {{.Spec.TaskTemplate.ContainerSpec.Image}} st_api"
    )
    assert shown.strip() == f"nginx:1@sha256:{'c' * 64}"


async def test_deploying_a_changed_file_changes_what_it_names(swarm: Cli, compose: Path):
    """One service of three; with --prune, one that the file has no more is removed."""
    await deploy(swarm, compose)
    before = versions(swarm)
    ids = {given(one.spec.name, ""): one.id for one in store_of(swarm).services}
    text = COMPOSE.replace("A: b", "A: c")
    text = text[: text.index("  once:")] + text[text.index("networks:\n  front") :]
    rewrite(compose, text)
    await deploy(swarm, compose)
    after = versions(swarm)
    assert {one for one in before if after[one] != before[one]} == {ids["st_web"]}
    printed = await deploy(swarm, compose, "--prune")
    assert "Removing service st_once" in printed
    assert set(before) - set(versions(swarm)) == {ids["st_once"]}


async def test_other_content_under_the_same_name_is_refused(swarm: Cli, compose: Path):
    """As in Docker: a secret or config never changes under its name."""
    await deploy(swarm, compose)
    rewrite(compose.parent / "token", "other\n")
    code, printed = await swarm.run(f"stack deploy --resolve-image never -c {compose} st")
    assert code == 1
    assert "only updates to Labels are allowed" in printed
    assert "other" not in printed


@pytest.mark.slow
async def test_a_stack_waits_until_its_tasks_run(swarm: Cli, compose: Path):
    """`--detach=false` ends when all services have converged."""
    rewrite(compose, COMPOSE.replace("parallelism: 1,", "parallelism: 1, monitor: 100ms,"))
    async with orchestrated(swarm.node):
        code, printed = await swarm.run(
            f"stack deploy --resolve-image never --detach=false -c {compose} st"
        )
    assert code == 0, printed
    assert "overall progress: 2 out of 2 tasks" in printed


async def test_networks_of_others_are_used_by_name(swarm: Cli, tmp_path: Path):
    """External ones have to be there, and of the swarm."""
    file = tmp_path / "external.yml"
    rewrite(
        file,
        'version: "3.8"\nservices: {web: {image: "busybox:1", networks: [mine, host]}}\n'
        "networks: {mine: {external: true}, host: {external: true, name: host}}\n",
    )
    command = f"stack deploy --resolve-image never -c {file} st"
    code, printed = await swarm.run(command)
    assert code == 1
    assert 'network "mine" is declared as external, but could not be found' in printed
    await swarm("network create -d overlay mine")
    await swarm(command)
    [service] = store_of(swarm).services
    assert given(service.spec.name, "") == "st_web"


async def test_networks_by_command(swarm: Cli):
    """`network create|ls|inspect|rm|prune`, `service update --network-add|--network-rm`."""
    await swarm(
        "network create -d overlay --attachable --label n=1 --subnet 10.200.0.0/24 "
        "-o encrypted net1"
    )
    assert await swarm.refused("network create -d overlay net1") == (
        "network with name net1 already exists"
    )
    listed = {tuple(row[1:]) for row in rows(await swarm("network ls"))}
    assert listed == {("ingress", "overlay", "swarm"), ("net1", "overlay", "swarm")}
    assert len(rows(await swarm("network ls -f driver=overlay -f name=net1"))) == 1
    [shown] = json.loads(await swarm("network inspect -v net1"))
    assert shown["IPAM"]["Config"] == [{"Subnet": "10.200.0.0/24", "Gateway": "10.200.0.1"}]
    assert await swarm("inspect net1 --format {{.Driver}}") == "overlay\n"
    printed = await swarm(
        "service create -d --no-resolve-image --name web --network net1 busybox:1"
    )
    assert "traffic of networks doesn't cross nodes yet" in printed
    assert "is in use by service" in await swarm.refused("network rm net1")
    await swarm("network create -d overlay net2")
    await swarm("service update -d --network-add name=net2,alias=zz --network-rm net1 web")
    [spec] = json.loads(await swarm("service inspect web"))
    net2 = (await swarm("network inspect net2 --format {{.ID}}")).strip()
    assert spec["Spec"]["TaskTemplate"]["Networks"] == [{"Target": net2, "Aliases": ["zz"]}]
    await swarm("service create -d --no-resolve-image --name hosted --network host busybox:1")
    assert "net1" in await swarm("network prune -f")
    await swarm("service rm web hosted")
    assert await swarm("network rm net2") == "net2\n"
    assert "network nosuch not found" in await swarm.refused("network inspect nosuch")
    assert "is a pre-defined network and cannot be removed" in await swarm.refused(
        "network rm host"
    )
