"""Stacks: Compose files as they are, under the names that `docker stack deploy` gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swarmops.errors import InputError
from swarmops.fleet.compose_merge import merged, read_env_file
from swarmops.fleet.document import read_document
from swarmops.fleet.interpolation import substitute
from swarmops.fleet.inventory import read_inventory
from swarmops.fleet.playbook import Playbook, build_playbook
from swarmops.model.base import to_builtins

COMPOSE = """
version: "3.8"
x-common: &common
  deploy: {replicas: 2}
services:
  web:
    <<: *common
    image: nginx:${TAG:-1.25}
    env_file: web.env
    environment: {MODE: prod}
    networks: {front: {aliases: [www]}}
    secrets: [token]
    configs: [{source: page, target: /index.html}]
    volumes: [data:/data, /srv:/srv]
  worker:
    extends: {file: base.yml, service: base}
    command: [work]
networks:
  front: {internal: true}
volumes:
  data: {driver: local, labels: {a: b}}
secrets:
  token: {file: token}
configs:
  page: {external: true}
"""
BASE = """
services:
  base:
    image: worker:1
    command: [idle, forever]
    environment: [A=1]
    labels: {kind: worker}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a stack."""
    (tmp_path / "shop.yml").write_text(COMPOSE)
    (tmp_path / "base.yml").write_text(BASE)
    (tmp_path / "web.env").write_text("# of the web\nexport LEVEL='info'\nMODE=dev\n")
    (tmp_path / "token").write_text("sesame")
    (tmp_path / "inventory.yml").write_text("all: {hosts: {a: }}\n")
    return tmp_path


def play(folder: Path, text: str) -> Playbook:
    """Return a playbook of this text beside the stack's files."""
    path = folder / "playbook.yml"
    path.write_text(text)
    inventory = read_inventory(folder / "inventory.yml")
    return build_playbook(read_document(path, "playbook"), inventory)


def spec(playbook: Playbook, name: str) -> dict[str, Any]:
    """Return a service's spec as Docker has it."""
    plain: dict[str, Any] = to_builtins(playbook.services[name])
    return plain


def test_everything_gets_the_stacks_name(folder: Path):
    """Services, networks, volumes and files; what is external keeps its own."""
    playbook = play(folder, "stacks: {shop: {compose: shop.yml, variables: {TAG: '1.27'}}}")
    web = spec(playbook, "shop_web")
    task, container = web["TaskTemplate"], web["TaskTemplate"]["ContainerSpec"]
    assert web["Name"] == "shop_web"
    assert web["Labels"]["com.docker.stack.namespace"] == "shop"
    assert web["Labels"]["com.docker.stack.image"] == container["Image"] == "nginx:1.27"
    assert container["Labels"] == {"com.docker.stack.namespace": "shop"}
    assert container["Env"] == ["LEVEL=info", "MODE=prod"]
    assert task["Networks"] == [{"Target": "shop_front", "Aliases": ["www", "web"]}]
    assert [one["SecretName"] for one in container["Secrets"]] == ["shop_token"]
    assert container["Secrets"][0]["File"]["Name"] == "token"
    assert [one["ConfigName"] for one in container["Configs"]] == ["page"]
    assert [(one["Type"], one["Source"]) for one in container["Mounts"]] == [
        ("volume", "shop_data"),
        ("bind", "/srv"),
    ]
    assert container["Mounts"][0]["VolumeOptions"]["Labels"] == {"a": "b"}
    assert [(one.kind, one.name, one.content) for one in playbook.materials] == [
        ("secret", "shop_token", b"sesame")
    ]
    assert set(playbook.networks) == {"shop_front", "shop_default"}
    assert playbook.networks["shop_front"].labels == {"com.docker.stack.namespace": "shop"}


def test_extends_and_the_default_network(folder: Path):
    """The command is replaced, variables and labels are merged; who names no network gets one."""
    worker = spec(play(folder, "stacks: {shop: shop.yml}"), "shop_worker")
    container = worker["TaskTemplate"]["ContainerSpec"]
    assert container["Args"] == ["work"]
    assert container["Env"] == ["A=1"]
    assert container["Labels"]["kind"] == "worker"
    assert worker["TaskTemplate"]["Networks"] == [{"Target": "shop_default", "Aliases": ["worker"]}]


def test_several_files_are_merged_in_order(folder: Path):
    """The later file over the earlier: a scalar replaced, a mapping merged, a list joined."""
    (folder / "prod.yml").write_text(
        "services: {web: {image: nginx:2, environment: [EXTRA=1], deploy: {replicas: 5}}}\n"
    )
    web = spec(play(folder, "stacks: {shop: {compose: [shop.yml, prod.yml]}}"), "shop_web")
    assert web["Mode"]["Replicated"]["Replicas"] == 5
    assert web["TaskTemplate"]["ContainerSpec"]["Image"] == "nginx:2"
    assert "EXTRA=1" in web["TaskTemplate"]["ContainerSpec"]["Env"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stacks: {shop: no.yml}", "no.yml: no such Compose file"),
        ("stacks: {shop: {env_file: web.env}}", "needs compose"),
        ("stacks: {shop: {compos: shop.yml}}", "did you mean 'compose'"),
        ("stacks: {shop: bad_volume.yml}", "volume 'x' is not under volumes: add it there"),
        ("stacks: {shop: bad_network.yml}", "network 'x' is not under networks: add it there"),
        ("stacks: {shop: bad_secret.yml}", "secret 'x' is not under secrets: add it there"),
        ("stacks: {shop: bad_key.yml}", "unknown key 'servces': did you mean 'services'"),
        ("stacks: {shop: needs.yml}", "needs.yml:1: the variable DB is needed: name a database"),
        ("stacks: {shop: circle.yml}", "extends goes in a circle"),
        ("stacks: {shop: nobody.yml}", "extends names no service 'nobody'"),
        (
            "stacks: {shop: shop.yml}\nservices: {shop_web: {image: i}}",
            "stack 'shop' and services both have 'shop_web'",
        ),
    ],
)
def test_mistakes_are_named_with_the_cure(folder: Path, text: str, words: str):
    """One sentence with the file and what to do."""
    files = {
        "bad_volume": "services: {a: {image: i, volumes: ['x:/x']}}",
        "bad_network": "services: {a: {image: i, networks: [x]}}",
        "bad_secret": "services: {a: {image: i, secrets: [x]}}",
        "bad_key": "servces: {a: {image: i}}",
        "needs": "services: {a: {image: '${DB:?name a database}'}}",
        "circle": "services: {a: {extends: b}, b: {extends: a}}",
        "nobody": "services: {a: {extends: nobody}}",
    }
    for name, content in files.items():
        (folder / f"{name}.yml").write_text(content)
    with pytest.raises(InputError) as caught:
        play(folder, text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$A-${A}", "1-1"),
        ("${NO}", ""),
        ("${NO:-x}", "x"),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY-x}", ""),
        ("${NO-${A}}", "1"),
        ("${A:+set}", "set"),
        ("${NO+set}", ""),
        ("$$A", "$A"),
        ("cost: 5$$", "cost: 5$"),
    ],
)
def test_variables_are_composes(text: str, result: str):
    """Defaults, alternatives, nesting and escaped dollars."""
    assert substitute(text, {"A": "1", "EMPTY": ""}) == result


@pytest.mark.parametrize("text", ["${A", "$", "${}", "${A!x}", "${NO:?}"])
def test_bad_variables_are_refused(text: str):
    """Nothing is guessed."""
    with pytest.raises(ValueError, match=r"\w"):
        substitute(text, {"A": "1"})


def test_lists_are_joined_and_commands_replaced():
    """Compose's rules of merging."""
    base = {"ports": ["80:80"], "command": ["a", "b"], "environment": ["A=1", "B=2"]}
    over = {"ports": ["443:443"], "command": ["c"], "environment": {"B": "3"}}
    assert merged(base, over) == {
        "ports": ["80:80", "443:443"],
        "command": ["c"],
        "environment": {"A": "1", "B": "3"},
    }


def test_an_env_file_with_a_mistake_is_named_with_its_line(tmp_path: Path):
    """Its own path and line, not the playbook's."""
    path = tmp_path / "x.env"
    path.write_text('A="two\\nlines"\nB=plain # comment\noops\n')
    with pytest.raises(InputError, match=r"x.env:3: 'oops' is not NAME=value"):
        read_env_file(path, "playbook.yml:1")
    path.write_text('A="two\\nlines"\nB=plain # comment\n')
    assert read_env_file(path, "") == {"A": "two\nlines", "B": "plain"}
