"""Hooks, variables and includes of a playbook, as they are read and as hooks are run."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarmops.errors import InputError, SwarmopsError
from swarmops.fleet.document import read_document
from swarmops.fleet.hooks import Hook, run_hooks
from swarmops.fleet.inventory import Inventory, read_inventory
from swarmops.fleet.playbook import Playbook, build_playbook
from swarmops.fleet.shells import Shells
from swarmops.model.defaults import image, task_spec


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    """Two hosts that are this machine, and a variable."""
    path = tmp_path / "inventory.yml"
    hosts = ", ".join(
        f"{n}: {{swarmops_data_dir: /x/{n}, swarmops_socket: /x/{n}.sock}}" for n in "ab"
    )
    path.write_text(f"all: {{vars: {{ansible_connection: local, tag: old}}, hosts: {{{hosts}}}}}\n")
    return read_inventory(path)


def play(inventory: Inventory, text: str) -> Playbook:
    """Read a playbook beside the inventory."""
    path = Path(inventory.path).parent / "playbook.yml"
    path.write_text(text)
    return build_playbook(read_document(path, "playbook"), inventory)


def test_a_playbooks_variables_are_stronger_than_the_inventorys(inventory: Inventory):
    """And may be made of the inventory's."""
    playbook = play(
        inventory,
        "vars: {tag: new, name: 'x-{{ tag }}'}\n"
        "services: {web: {image: 'i:{{ tag }}', labels: {n: '{{ name }}'}}}",
    )
    assert image(task_spec(playbook.services["web"])) == "i:new"


def test_included_playbooks_lie_beneath_the_one_that_includes(inventory: Inventory):
    """Mappings are merged, the including one wins; includes of includes too."""
    folder = Path(inventory.path).parent
    (folder / "base.yml").write_text("swarm: {managers: 1}\nservices: {a: {image: i}}\n")
    (folder / "more.yml").write_text(
        "include: base.yml\nservices: {a: {labels: {x: y}}, b: {image: j}}\n"
    )
    playbook = play(
        inventory,
        "include: [more.yml]\nswarm: {name: top}\nservices: {a: {image: k}}",
    )
    assert (playbook.name, playbook.managers) == ("top", 1)
    assert image(task_spec(playbook.services["a"])) == "k"
    assert set(playbook.services) == {"a", "b"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("include: nowhere.yml", "no such playbook"),
        ("include: playbook.yml", "include goes in a circle"),
        ("hooks: {befor: []}", "did you mean 'before'"),
        ("hooks: {before: [{hosts: a}]}", "needs a command"),
        ("hooks: {before: [{command: x, hosts: nobody}]}", "no host or group"),
    ],
)
def test_mistakes_are_named(inventory: Inventory, text: str, words: str):
    """One sentence with the cure."""
    with pytest.raises(InputError) as caught:
        play(inventory, text)
    assert words in str(caught.value)


def test_hooks_run_in_order_here_and_on_hosts(inventory: Inventory, tmp_path: Path):
    """The first that fails stops the rest and says where and why."""
    playbook = play(
        inventory,
        "hooks:\n"
        "  before:\n"
        "  - {command: [sh, -c, 'echo one >> said']}\n"
        f"  - {{command: 'sh -c \"echo two >> {tmp_path}/said\"', hosts: all}}\n",
    )
    with Shells() as shells:
        run_hooks(playbook.hooks.before, "before", inventory, shells, tmp_path)
        assert (tmp_path / "said").read_text().splitlines() == ["one", "two", "two"]
        failing = [
            Hook(command=("sh", "-c", "echo no >&2; exit 3"), hosts=hosts) for hosts in ((), ("a",))
        ]
        for hook, where in zip(failing, ("on this machine", "on a"), strict=True):
            with pytest.raises(SwarmopsError, match=f"hook 1 of after failed {where}: no"):
                run_hooks([hook], "after", inventory, shells, tmp_path)
        with pytest.raises(SwarmopsError, match="No such file"):
            run_hooks([Hook(command=("no-such-program",))], "after", inventory, shells, tmp_path)
