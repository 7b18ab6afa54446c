"""Hooks, variables and includes of a playbook, as they are read and as hooks are run."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarmops.errors import InputError, SwarmopsError
from swarmops.fleet.document import read_document
from swarmops.fleet.hooks import Hook, run_hooks
from swarmops.fleet.inventory import Inventory, read_inventory
from swarmops.fleet.opened import open_fleet
from swarmops.fleet.playbook import Playbook, build_playbook, read_playbook
from swarmops.fleet.selection import Wanted
from swarmops.fleet.shells import Shells
from swarmops.model.base import given
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


def test_defaults_are_weaker_than_the_inventorys_variables(inventory: Inventory):
    """And than the playbook's own; what only they have comes from them."""
    playbook = play(
        inventory,
        "defaults: {tag: weak, mine: weak, only: '{{ tag }}-x'}\nvars: {mine: own}\n"
        "services: {web: {image: '{{ tag }}/{{ mine }}/{{ only }}'}}",
    )
    assert image(task_spec(playbook.services["web"])) == "old/own/old-x"


def test_a_folder_of_playbooks_is_one(inventory: Inventory):
    """In the order of names, with includes and variables of each; other files are left alone."""
    folder = Path(inventory.path).parent / "prod"
    folder.mkdir()
    files = {
        "10-base.yml": "include: ../base.yaml\nvars: {t: 1}\nservices: {a: {image: 'i:{{ t }}'}}",
        "20-more.yaml": "vars: {t: 2}\nservices: {b: {image: j, ports: ['80:80']}}",
        "30-over.yml": "services: {b: {ports: !reset []}}",
        ".hidden.yml": "services: {c: {image: k}}",
        "notes.txt": "not this",
        "../base.yaml": "swarm: {managers: 1}",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    playbook = read_playbook([folder], inventory)
    assert (playbook.name, playbook.managers, playbook.folder) == ("prod", 1, folder)
    assert set(playbook.services) == {"a", "b"}
    assert image(task_spec(playbook.services["a"])) == "i:2"
    assert not given(playbook.services["b"].endpoint_spec, None)


def test_several_named_playbooks_are_one(inventory: Inventory):
    """In the order given, also folders; paths and the name are the first one's, includes' own."""
    folder = Path(inventory.path).parent
    files = {
        "base/prod.yml": "include: common.yml\nvars: {t: 1}\nservices: {a: {image: 'i:{{ t }}'}}",
        "base/common.yml": "swarm: {managers: 1}\nconfigs: {page: {file: page}}",
        "base/page": "the base's",
        "shop/shop.yml": "include: more.yml\nvars: {t: 2}\nservices: {b: {image: j}}",
        "shop/more.yml": "services: {b: {ports: ['80:80'], labels: {x: y}}}",
        "over/10.yml": "services: {b: {ports: !reset []}}",
        "over/20.yml": "services: {b: {image: k}}",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    paths = [folder / "base" / "prod.yml", folder / "shop" / "shop.yml", folder / "over"]
    playbook = read_playbook(paths, inventory)
    assert (playbook.name, playbook.managers, playbook.folder) == ("prod", 1, folder / "base")
    assert playbook.path == f"{paths[0]}, {paths[1]}, {paths[2]}"
    assert [one.content for one in playbook.materials] == [b"the base's"]
    assert image(task_spec(playbook.services["a"])) == "i:2"
    assert image(task_spec(playbook.services["b"])) == "k"
    assert not given(playbook.services["b"].endpoint_spec, None)
    (folder / "over" / "20.yml").write_text("services:\n  b:\n    imag: k\n")
    with pytest.raises(InputError, match=r"over/20.yml:3: unknown key 'services.b.imag'"):
        read_playbook(paths, inventory)
    (folder / "shop" / "shop.yml").write_text("- hosts: all\n")
    with pytest.raises(InputError, match=r"shop.yml:1: the file must be a playbook"):
        read_playbook(paths, inventory)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "prod has no playbook: put files into it whose names end in .yml"),
        ({"a.yml": "- hosts: all"}, "prod/a.yml:1: the file must be a playbook"),
        (
            {"a.yml": "services:\n  a: {image: i}", "b.yml": "services:\n  b: {imag: i}"},
            "prod/b.yml:2: unknown key 'services.b.imag'",
        ),
        ({"a.yml": "include: ../base.yml"}, "base.yml:2: unknown key 'swarm.managrs'"),
    ],
)
def test_a_mistake_in_one_of_several_playbooks_is_told_with_its_file(
    inventory: Inventory, files: dict[str, str], words: str
):
    """Also of one that was included."""
    folder = Path(inventory.path).parent / "prod"
    folder.mkdir()
    (folder.parent / "base.yml").write_text("swarm:\n  managrs: 1\n")
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(InputError) as caught:
        read_playbook([folder], inventory)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("include: nowhere.yml", "no such playbook"),
        ("include: playbook.yml", "include goes in a circle"),
        ("hooks: {befor: []}", "did you mean 'before'"),
        ("hooks: {before: [{hosts: a}]}", "needs a command"),
        ("hooks: {before: [{command: x, only: service}]}", "nodes, runtime or services"),
        ("hooks: {before: [{command: x, hosts: nobody}]}", "no host or group"),
    ],
)
def test_mistakes_are_named(inventory: Inventory, text: str, words: str):
    """One sentence with the cure."""
    with pytest.raises(InputError) as caught:
        play(inventory, text)
    assert words in str(caught.value)


def test_a_limited_apply_runs_no_hook_on_other_hosts(inventory: Inventory):
    """Those on the operator's machine are run all the same; the plan says what will be."""
    play(
        inventory,
        "hooks:\n"
        "  before: [{command: one, hosts: all}, {command: two, hosts: b}]\n"
        "  after: [{command: three}]\n",
    )
    path = Path(inventory.path)
    playbooks = [path.parent / "playbook.yml"]
    with Shells() as shells:
        limited = open_fleet(path, playbooks, shells, wanted=Wanted(limit="a"))
        whole = open_fleet(path, playbooks, shells)
    bound = "(at most 60 s)"
    assert list(limited.playbook.hooks.lines()) == [
        f"before, on a: one {bound}",
        f"after, on this machine: three {bound}",
    ]
    assert len(list(whole.playbook.hooks.lines())) == 3


@pytest.mark.parametrize(
    ("only", "ran"),
    [
        (None, ["any", "served", "both"]),
        ("services", ["any", "served", "both"]),
        ("nodes", ["any", "both"]),
        ("runtime", ["any"]),
    ],
)
def test_an_apply_of_a_part_runs_no_hook_of_other_parts(
    inventory: Inventory, only: str | None, ran: list[str]
):
    """What says nothing belongs to all of them."""
    play(
        inventory,
        "hooks:\n  before:\n  - {command: any}\n  - {command: served, only: services}\n"
        "  - {command: both, only: [nodes, services]}\n",
    )
    path = Path(inventory.path)
    with Shells() as shells:
        fleet = open_fleet(path, [path.parent / "playbook.yml"], shells, wanted=Wanted(only=only))
    assert [hook.command[0] for hook in fleet.playbook.hooks.before] == ran


def test_a_secret_of_the_environment_may_be_any_bytes(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
):
    """Also those that are no UTF-8."""
    monkeypatch.setenv("TOKEN", "\udcff\udcfe")
    playbook = play(inventory, "secrets: {token: {environment: TOKEN}}")
    assert [one.content for one in playbook.materials] == [b"\xff\xfe"]


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
        bytes_ = Hook(command=("sh", "-c", r"printf 'caf\351' >&2; exit 1"))
        with pytest.raises(SwarmopsError, match="on this machine: caf\ufffd"):
            run_hooks([bytes_], "after", inventory, shells, tmp_path)
        with pytest.raises(SwarmopsError, match="No such file"):
            run_hooks([Hook(command=("no-such-program",))], "after", inventory, shells, tmp_path)
