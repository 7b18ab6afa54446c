"""What a playbook's stack asks the swarm for is what ``docker stack deploy`` asks it for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from swarmops.api import make_app
from swarmops.fleet.document import parse_document
from swarmops.fleet.inventory import read_inventory
from swarmops.fleet.playbook import build_playbook
from swarmops.model.base import to_builtins
from swarmops.pki.root import new_root
from tests.unit.api.fake_node import FakeNode
from tests.unit.api.test_docker_cli import (
    Cli,
    pytestmark,  # noqa: F401 - left out without a docker CLI
)

BASE = """
version: "3.8"
x-log: &log {driver: json-file, options: {max-size: 1m}}
services:
  full:
    image: app:${TAG:-1}
    command: serve --all "two words"
    entrypoint: [/run.sh]
    environment: [FROM_SHELL, A=1, B=2]
    env_file: full.env
    labels: [a=b]
    hostname: "{{.Node.Hostname}}"
    working_dir: /srv
    user: "1000"
    init: true
    stop_grace_period: 90s
    read_only: true
    extra_hosts: ["db:10.0.0.1"]
    dns: 9.9.9.9
    cap_add: [CAP_NET_ADMIN]
    ulimits: {nofile: {soft: 1, hard: 2}}
    healthcheck: {test: curl localhost, interval: 500ms, retries: 3}
    volumes: ["data:/data", "/etc/hosts:/h:ro", {type: tmpfs, target: /t, tmpfs: {size: 1024}}]
    ports: ["8080:80", "9000-9001:90-91/udp", {target: 7, published: 7, protocol: tcp, mode: host}]
    networks: {front: {aliases: [www]}, back: }
    secrets: [token, {source: other, target: /x/t, mode: 0400, uid: "3"}]
    configs: [{source: page, target: /www/index.html}]
    logging: *log
    deploy:
      replicas: 2
      labels: {x: z}
      endpoint_mode: vip
      placement:
        constraints: [node.role==manager]
        preferences: [{spread: node.labels.zone}]
        max_replicas_per_node: 1
      resources: {limits: {cpus: "0.5", memory: 20M}, reservations: {memory: 10M}}
      restart_policy: {condition: on-failure, delay: 5s, max_attempts: 3, window: 1m}
      update_config: {parallelism: 2, delay: 1s, order: start-first, failure_action: rollback}
      rollback_config: {parallelism: 0}
  plain: {image: 'busybox:1'}
  everywhere: {image: 'busybox:1', deploy: {mode: global}}
  job: {image: 'busybox:1', deploy: {mode: replicated-job, replicas: 3}}
networks:
  front: {driver: overlay}
  back: {driver: overlay, internal: true}
volumes: {data: {driver: local, labels: {q: r}}, other: }
secrets: {token: {file: ./token}, other: {file: ./token}}
configs: {page: {file: ./page}}
"""
OVER = """
version: "3.8"
services:
  full:
    image: app:2
    command: [serve]
    environment: {B: 3, C: "$$4"}
    labels: {c: d}
    extra_hosts: ["web:10.0.0.2"]
    dns: [8.8.8.8]
    ports: ["443:443"]
    networks: [back]
    logging: {driver: syslog}
    ulimits: {nofile: 5}
    deploy: {replicas: 4, labels: {y: z}}
  plain: {volumes: ["other:/o", "theirs:/p"]}
volumes: {theirs: {external: true}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a stack."""
    monkeypatch.setenv("FROM_SHELL", "sesame")
    files = {"base.yml": BASE, "over.yml": OVER, "token": "t", "page": "p"}
    files |= {"full.env": "A=file\nD=file\n", "inventory.yml": "all: {hosts: {a: }}"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncIterator[tuple[Cli, dict[str, Any]]]:
    """A docker CLI, and the services that it asks the swarm for, by name."""
    services: dict[str, Any] = {}

    @web.middleware
    async def remember(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.path.endswith("/services/create"):
            spec = json.loads(await request.text())
            services[spec["Name"]] = spec
        return await handler(request)

    app = make_app(FakeNode(new_root(datetime.now(UTC)).cert_pem))
    app.middlewares.append(remember)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.UnixSite(runner, tmp_path / "api.sock").start()
    cli = Cli(FakeNode(""), tmp_path / "api.sock", tmp_path / "config")
    await cli("swarm init --advertise-addr 10.0.0.1")
    yield cli, services
    await runner.cleanup()


def plain(value: Any, key: str = "") -> Any:
    """Return a spec without what says nothing, what only the swarm knows, and lists' order."""
    if isinstance(value, dict):
        found = {name: plain(item, name) for name, item in value.items()}
        return {
            name: item
            for name, item in found.items()
            if name not in ("SecretID", "ConfigID", "ForceUpdate", "Runtime", "Privileges")
            and item not in ({}, [], None, "", 0)
        }
    if isinstance(value, list) and key not in ("Args", "Command", "Test"):
        return sorted((plain(item) for item in value), key=str)
    return value


@pytest.mark.parametrize("files", [["base.yml"], ["base.yml", "over.yml"]])
async def test_the_specs_are_those_of_docker_stack_deploy(
    folder: Path, asked: tuple[Cli, dict[str, Any]], files: list[str]
):
    """Every key of a service, from one file and from two."""
    docker, theirs = asked
    options = " ".join(f"-c {folder / name}" for name in files)
    await docker(f"stack deploy --resolve-image never {options} st")
    document = parse_document(
        f"stacks: {{st: {{compose: [{', '.join(files)}]}}}}", str(folder / "playbook.yml")
    )
    ours = build_playbook(document, read_inventory(folder / "inventory.yml")).services
    assert set(ours) == set(theirs) == {"st_full", "st_plain", "st_everywhere", "st_job"}
    for name, spec in ours.items():
        assert plain(to_builtins(spec)) == plain(theirs[name]), name
