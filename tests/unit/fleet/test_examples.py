"""The inventories and playbooks that come with the project are right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from swarmops.backends.base import Missing
from swarmops.errors import InputError
from swarmops.fleet.compose import IGNORED, INSTEAD, KEYS
from swarmops.fleet.document import parse_document
from swarmops.fleet.groups import read_groups
from swarmops.fleet.host import OUR_VARS
from swarmops.fleet.inventory import Inventory, build_inventory, read_inventory
from swarmops.fleet.observation import HostView, Observation
from swarmops.fleet.plan import make_plan
from swarmops.fleet.playbook import build_playbook, playbook_paths, read_playbook
from swarmops.model.defaults import replicas

ROOT = Path(__file__).parents[3]


def load(name: str) -> tuple[Inventory, Path]:
    """Return an inventory that comes with the project, and its playbook's path."""
    inventory = read_inventory(ROOT / "inventories" / name)
    return inventory, playbook_paths(inventory)[0]


def test_the_demo():
    """Five local nodes under .demo, three managers, four tasks for the four nodes that take any."""
    inventory, path = load("local.yml")
    playbook = read_playbook([path], inventory)
    assert [*inventory.hosts] == ["node1", "node2", "node3", "node4", "node5"]
    for number, host in enumerate(inventory.hosts.values(), 11):
        assert host.connection == "local"
        assert host.data_dir == str(ROOT / ".demo" / host.name / "data")
        assert host.socket == str(ROOT / ".demo" / host.name / "swarmops.sock")
        assert host.listen_addr == host.advertise_addr == f"127.0.0.{number}:2377"
        assert host.hostname == host.name
    assert (playbook.managers, playbook.warnings) == (3, ())
    assert replicas(playbook.services["web"]) == 4
    bare = (Missing("process", "it does not run"),)
    views = {name: HostView(name=name, missing=bare) for name in inventory.hosts}
    steps = [step.id for step in make_plan(inventory, playbook, Observation(hosts=views)).steps]
    assert steps[-1] == "create_service:web"
    assert "init:node1" in steps


def test_the_example_of_production():
    """The example is read without a warning, templates and groups in it."""
    inventory, path = load("example-prod.yml")
    playbook = read_playbook([path], inventory)
    assert playbook.warnings == ()
    assert playbook.wish("w05.shop.example").labels == {"disk": "hdd"}
    assert replicas(playbook.services["web"]) == 6


def blocks(page: str) -> list[tuple[str, str]]:
    """Return the YAML blocks of a page and what they are: the word after ``yaml``."""
    text = (ROOT / "docs" / page).read_text()
    return re.findall(r"```yaml (\w+)\n(.*?)```", text, re.DOTALL)


SHOP = "all: {hosts: {host1: , host2: , host3: , host4: , host5: }}"


@pytest.mark.parametrize("page", ["inventory.md", "playbook.md"])
def test_the_manual_is_right(page: str):
    """Every example of the manual is read as the manual says."""
    found = blocks(page)
    assert len(found) >= 3
    fleet = build_inventory("i.yml", read_groups(parse_document(SHOP, "i.yml"), OUR_VARS))
    for kind, text in found:
        document = parse_document(text, page)
        if kind == "inventory":
            build_inventory(page, read_groups(document, OUR_VARS))
        elif kind == "playbook":
            build_playbook(document, fleet)
        else:
            assert kind == "wrong"
            with pytest.raises(InputError):
                build_playbook(document, fleet)


def test_the_manual_is_whole():
    """Every variable and every key that is read stands in the reference."""
    inventory, playbook = (
        (ROOT / "docs/reference" / name).read_text() for name in ("inventory.md", "playbook.md")
    )
    assert [name for name in OUR_VARS if f"`{name}`" not in inventory] == []
    keys = {*KEYS, *IGNORED, *INSTEAD}
    assert sorted(key for key in keys if f"`{key}`" not in playbook) == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples").glob("*/inventory.yml")), ids=lambda path: path.parent.name
)
def test_each_example_is_understood_without_a_warning(path: Path):
    """Inventory and playbook; what they do on machines is for their reader to see."""
    inventory = read_inventory(path)
    playbook = read_playbook(playbook_paths(inventory), inventory)
    assert playbook.services
    assert not playbook.warnings
