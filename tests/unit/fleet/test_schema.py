"""The published JSON Schemas are the code's, take what it takes and refuse what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from swarmops.errors import InputError
from swarmops.fleet import host, meanings
from swarmops.fleet.document import parse_document, read_document
from swarmops.fleet.schema import inventory_schema, playbook_schema, properties

ROOT = Path(__file__).parents[3]
SCHEMAS = {"playbook": playbook_schema(), "inventory": inventory_schema()}
MANUAL = [
    (kind, block)
    for kind in SCHEMAS
    for block in re.findall(
        rf"```yaml {kind}\n(.*?)```", (ROOT / "docs" / f"{kind}.md").read_text(), re.DOTALL
    )
]
FILES = [
    *(("playbook", path) for path in sorted(ROOT.glob("playbooks/*.yml"))),
    *(("inventory", path) for path in sorted(ROOT.glob("inventories/*.yml"))),
]


def valid(kind: str, value: Any) -> None:
    """Raise jsonschema.ValidationError unless the schema takes it."""
    jsonschema.Draft202012Validator(SCHEMAS[kind]).validate(value)


@pytest.mark.parametrize("kind", list(SCHEMAS))
def test_the_published_schema_is_the_codes(kind: str):
    """After a change of the formats: `make docs`."""
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[kind])
    assert json.loads((ROOT / "schemas" / f"{kind}.json").read_text()) == SCHEMAS[kind]


@pytest.mark.parametrize(("kind", "path"), FILES, ids=[path.name for _, path in FILES])
def test_the_repositorys_own_files_are_valid(kind: str, path: Path):
    """Every inventory and playbook that is here to begin from."""
    valid(kind, read_document(path, kind).value)


@pytest.mark.parametrize(("kind", "text"), MANUAL)
def test_the_manuals_examples_are_valid(kind: str, text: str):
    """Whatever the manual shows, an editor takes."""
    valid(kind, parse_document(text, "manual").value)


@pytest.mark.parametrize(
    "text",
    [
        "services: {a: {image: i, ports: [80, '8080:80', {target: '80', mode: host}]}}",
        "services: {a: {image: i, ports: '{{ ports }}', volumes: [a:/b]}}",
        "services: {a: {image: i, volumes: [{type: tmpfs, target: /c, tmpfs: {size: 1g}}]}}",
        "services: {a: {image: i, networks: {n: {aliases: [b]}, m: }, secrets: [a, {source: b}]}}",
        "services: {a: {image: i, deploy: {replicas: '3', resources: {limits: {cpus: '0.5'}}}}}",
        "services: {a: {image: i, deploy: {replicas: '{{ n }}', update_config: {delay: 1m30s}}}}",
        "services: {a: {image: i, ulimits: {nofile: 5, nproc: {soft: 1, hard: 2}}, tmpfs: /a}}",
        "services: {a: {image: i, extra_hosts: {a: 10.0.0.1}, healthcheck: {disable: yes}}}",
        "services: {a: {image: i, deploy: {restart_policy: {delay: 0.5s, window: 0}}}}",
        "networks: {a: , b: {ipam: {config: [{subnet: 10.0.0.0/8}]}}}",
    ],
)
def test_what_the_reader_takes_an_editor_takes(text: str):
    """Short forms, long forms, numbers as texts, templates, empty values."""
    valid("playbook", parse_document(text, "x.yml").value)
    _read("playbook", text.replace("{{ n }}", "3").replace("'{{ ports }}'", "[80]"))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("playbook", "swarm: {manager: 3}"),
        ("playbook", "services: {web: {imag: nginx}}"),
        ("playbook", "services: {web: {image: i, deploy: {replica: 3}}}"),
        ("playbook", "nodes: {a: {role: king}}"),
        ("playbook", "stacks: {a: {compos: b}}"),
        ("playbook", "secrets: {a: {content: b}}"),
        ("playbook", "services: {web: {image: i, ports: [{target: 80, publish: 80}]}}"),
        ("playbook", "services: {web: {image: i, volumes: [{type: bind, bind: {propagate: a}}]}}"),
        ("playbook", "services: {web: {image: i, stop_grace_period: 10 seconds}}"),
        ("playbook", "services: {web: {image: i, deploy: {resources: {limits: {memory: lots}}}}}"),
        ("playbook", "services: {web: {image: i, healthcheck: {retry: 3}}}"),
        ("playbook", "networks: {a: {ipam: {config: [{subnets: b}]}}}"),
        ("inventory", "all: {host: {a: }}"),
        ("inventory", "all: {vars: {swarmops_playbok: a}, hosts: {a: }}"),
    ],
)
def test_mistakes_that_the_readers_find_are_found_by_editors_too(kind: str, text: str):
    """Unknown keys and words, at any depth."""
    value = parse_document(text, "x.yml").value
    with pytest.raises(jsonschema.ValidationError):
        valid(kind, value)
    with pytest.raises(InputError):
        _read(kind, text)


def test_every_key_has_its_sentence_and_no_sentence_is_of_none():
    """Whatever a key is called, an editor says what it means."""
    schema = playbook_schema()
    found = {path: inner for path, _, inner in properties(schema)}
    assert [path for path, inner in found.items() if not inner.get("description")] == []
    assert set(meanings.PLAYBOOK) - set(found) == set()
    assert set(meanings.VARIABLES) == {*host.ANSIBLE_VARS, *host.OUR_VARS}
    texts = [*meanings.PLAYBOOK.values(), *meanings.VARIABLES.values(), *meanings.GROUP.values()]
    assert [one.text for one in texts if not one.text.endswith(".")] == []


def test_the_variables_of_ansibles_in_the_reference_are_those_that_are_read():
    """Neither one that is told and not read, nor the other way round."""
    text = Path(host.__file__).read_text().partition("def build_host(")[2]
    read = set(re.findall(r'"(ansible_\w+)"', text))
    assert read == set(host.ANSIBLE_VARS)


def _read(kind: str, text: str) -> None:
    from swarmops.fleet.groups import read_groups
    from swarmops.fleet.host import OUR_VARS
    from swarmops.fleet.inventory import build_inventory
    from swarmops.fleet.playbook import build_playbook

    document = parse_document(text if kind == "inventory" else "all: {hosts: {a: }}", "i.yml")
    inventory = build_inventory("i.yml", read_groups(document, OUR_VARS))
    if kind == "playbook":
        build_playbook(parse_document(text, "p.yml"), inventory)
