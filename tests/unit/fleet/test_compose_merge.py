"""Compose files laid over each other: Compose's rules, one row each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swarmops.errors import InputError
from swarmops.fleet.compose_merge import joined
from swarmops.fleet.document import parse_document, read_document
from swarmops.fleet.inventory import read_inventory
from swarmops.fleet.playbook import build_playbook
from swarmops.model.base import to_builtins


def over(base: str, above: str) -> Any:
    """Return the service of one file with the other's over it."""
    documents = [
        parse_document(f"services:\n  a: {{{text}}}", name, layered=True)
        for text, name in ((base, "base.yml"), (above, "over.yml"))
    ]
    return joined(documents).value["services"]["a"]


@pytest.mark.parametrize(
    ("base", "above", "key", "expected"),
    [
        ("command: [a, b]", "command: [c]", "command", ["c"]),
        ("entrypoint: a", "entrypoint: [b]", "entrypoint", ["b"]),
        ("healthcheck: {test: [CMD, a], retries: 2}", "healthcheck: {test: b}", "healthcheck",
         {"test": "b", "retries": 2}),
        ("image: a", "image: ", "image", "a"),
        ("environment: [A=1, B=2]", "environment: {B: 3}", "environment", {"A": "1", "B": 3}),
        ("environment: {A: 1}", "environment: [A]", "environment", {"A": None}),
        ("labels: {a: 1}", "labels: [b=2]", "labels", {"a": 1, "b": "2"}),
        ("deploy: {labels: [a=1]}", "deploy: {labels: {b: 2}}", "deploy",
         {"labels": {"a": "1", "b": 2}}),
        ("extra_hosts: ['db:10.0.0.1']", "extra_hosts: ['db=10.0.0.1', 'c:::1']", "extra_hosts",
         ["db=10.0.0.1", "c=::1"]),
        ("extra_hosts: {a: [1.1.1.1, 2.2.2.2]}", "extra_hosts: ['b:3.3.3.3']", "extra_hosts",
         ["a=1.1.1.1", "a=2.2.2.2", "b=3.3.3.3"]),
        ("dns: 1.1.1.1", "dns: [2.2.2.2, 1.1.1.1]", "dns", ["1.1.1.1", "2.2.2.2"]),
        ("tmpfs: /a", "tmpfs: /b", "tmpfs", ["/a", "/b"]),
        ("cap_add: [A]", "cap_add: [A, B]", "cap_add", ["A", "B"]),
        ("volumes: ['x:/data', /b]", "volumes: ['y:/data/:ro']", "volumes", ["y:/data/:ro", "/b"]),
        ("volumes: ['x:/data']", "volumes: [{type: tmpfs, target: /data}]", "volumes",
         [{"type": "tmpfs", "target": "/data"}]),
        ("secrets: [s]", "secrets: [{source: t, target: s}]", "secrets",
         [{"source": "t", "target": "s"}]),
        ("secrets: [s]", "secrets: [{source: s, target: /x}]", "secrets",
         ["s", {"source": "s", "target": "/x"}]),
        ("configs: [{source: c, target: /x}]", "configs: [{source: d, target: /x}]", "configs",
         [{"source": "d", "target": "/x"}]),
        ("ports: ['80:80']", "ports: [{target: 80, published: 80, mode: host}]", "ports",
         [{"target": 80, "published": 80, "mode": "host"}]),
        ("ports: ['80-81:80-81']", "ports: ['81:81/tcp', '81:81/udp', 9]", "ports",
         ["80:80/tcp", "81:81/tcp", "81:81/udp", "9/tcp"]),
        ("networks: [n]", "networks: {m: {aliases: [q]}}", "networks",
         {"n": None, "m": {"aliases": ["q"]}}),
        ("networks: {n: {aliases: [p]}}", "networks: {n: {aliases: [q]}}", "networks",
         {"n": {"aliases": ["p", "q"]}}),
        ("logging: {driver: x, options: {a: 1}}", "logging: {options: {b: 2}}", "logging",
         {"driver": "x", "options": {"a": 1, "b": 2}}),
        ("logging: {driver: x, options: {a: 1}}", "logging: {driver: y}", "logging",
         {"driver": "y"}),
        ("ulimits: {nofile: 5}", "ulimits: {nofile: {soft: 1, hard: 2}}", "ulimits",
         {"nofile": {"soft": 1, "hard": 2}}),
        ("ports: ['80:80']", "ports: !override ['81:81']", "ports", ["81:81"]),
        ("ports: ['80:80']", "ports: !reset []", "ports", None),
        ("deploy: {replicas: 2, mode: global}", "deploy: {replicas: !reset null}", "deploy",
         {"mode": "global"}),
        ("environment: {A: 1, B: 2}", "environment: {A: !reset null}", "environment", {"B": 2}),
        ("deploy: {replicas: 2, mode: global}", "deploy: !override {replicas: 3}", "deploy",
         {"replicas": 3}),
    ],
)  # fmt: skip
def test_one_file_over_another(base: str, above: str, key: str, expected: Any):
    """Lists are joined, what has a place is there once, commands and tagged values replaced."""
    assert over(base, above).get(key) == expected


def test_names_are_never_taken_for_keys():
    """Services that are called like keys are merged like any other."""
    names = ("command", "ports", "environment", "labels")
    first = "\n".join(f"  {name}: {{image: i, cap_add: [A]}}" for name in names)
    second = "\n".join(f"  {name}: {{image: j}}" for name in names)
    whole = joined([parse_document(f"services:\n{text}", "x.yml") for text in (first, second)])
    assert whole.value["services"] == {name: {"image": "j", "cap_add": ["A"]} for name in names}


def test_a_tag_survives_extends(tmp_path: Path):
    """A service that extends another one still takes away what the file below it says."""
    (tmp_path / "a.yml").write_text("services: {a: {image: i, ports: ['80:80'], init: true}}")
    (tmp_path / "b.yml").write_text(
        "services:\n  base: {image: j, ports: ['90:90']}\n"
        "  a: {extends: base, ports: !reset [], init: !reset }\n"
    )
    service = built(tmp_path, "stacks: {s: {compose: [a.yml, b.yml]}}")["s_a"]
    assert "EndpointSpec" not in service
    assert "Init" not in service["TaskTemplate"]["ContainerSpec"]


def test_a_playbook_can_take_away_what_it_includes(tmp_path: Path):
    """The same tags, in the playbook's own services."""
    (tmp_path / "base.yml").write_text("services: {a: {image: i, ports: ['80:80']}}")
    service = built(tmp_path, "include: base.yml\nservices: {a: {ports: !override ['81:80']}}")["a"]
    assert [port["PublishedPort"] for port in service["EndpointSpec"]["Ports"]] == [81]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [!reset 1]", "x.yml:1: !reset stands before the value of a key: put it there"),
        ("a: !other [1]", "x.yml:1: the tag !other means nothing here: remove it"),
        ("a: !other 1", "x.yml:1: the tag !other means nothing here: remove it"),
    ],
)
def test_other_tags_are_refused(text: str, words: str):
    """A tag is never silently left out."""
    with pytest.raises(InputError) as caught:
        parse_document(text, "x.yml", layered=True)
    assert words in str(caught.value)


def test_nothing_is_laid_over_an_inventory():
    """So Compose's tags are refused in it."""
    with pytest.raises(InputError, match="the tag !reset means nothing here"):
        parse_document("all: !reset {}", "i.yml")


def built(folder: Path, text: str) -> dict[str, Any]:
    """Return the specs of the services of a playbook, by name, as sent."""
    (folder / "inventory.yml").write_text("all: {hosts: {a: }}")
    (folder / "playbook.yml").write_text(text)
    document = read_document(folder / "playbook.yml", "playbook", layered=True)
    playbook = build_playbook(document, read_inventory(folder / "inventory.yml"))
    return {name: to_builtins(spec) for name, spec in playbook.services.items()}
