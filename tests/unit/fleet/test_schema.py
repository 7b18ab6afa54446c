"""The published JSON Schemas are the code's, take what it takes and refuse what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from swarmops.errors import InputError
from swarmops.fleet.document import parse_document, read_document
from swarmops.fleet.schema import inventory_schema, playbook_schema

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
    """After a change of the formats: `swarmops schema KIND > schemas/KIND.json`."""
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
    ("kind", "text"),
    [
        ("playbook", "swarm: {manager: 3}"),
        ("playbook", "services: {web: {imag: nginx}}"),
        ("playbook", "services: {web: {image: i, deploy: {replica: 3}}}"),
        ("playbook", "nodes: {a: {role: king}}"),
        ("playbook", "stacks: {a: {compos: b}}"),
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


def _read(kind: str, text: str) -> None:
    from swarmops.fleet.groups import read_groups
    from swarmops.fleet.host import OUR_VARS
    from swarmops.fleet.inventory import build_inventory
    from swarmops.fleet.playbook import build_playbook

    document = parse_document(text if kind == "inventory" else "all: {hosts: {a: }}", "i.yml")
    inventory = build_inventory("i.yml", read_groups(document, OUR_VARS))
    if kind == "playbook":
        build_playbook(parse_document(text, "p.yml"), inventory)
