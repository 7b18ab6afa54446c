"""The example of a third party's backend: found by its entry point, used like our own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import msgspec
import pytest

from swarmops.backends import base
from swarmops.backends.base import ApiFacts, Backend, Facts, PythonFacts, Result, load_backend
from swarmops.errors import HostError, InputError
from swarmops.fleet.backend_of import on_backend
from swarmops.fleet.inventory import read_inventory
from swarmops.fleet.targets import target_of

EXAMPLE = Path(__file__).parents[3] / "examples" / "backend"
FACTS = Facts(
    hostname="h1",
    python=PythonFacts(executable="/usr/bin/python3", version=(3, 11, 2)),
    system="linux",
    machine="x86_64",
    user="root",
    is_root=True,
    systemd=True,
    engine=True,
)


class Hand:
    """A shell that writes down what it is told."""

    host = "h1"
    interpreter = None

    def __init__(self) -> None:
        self.ran: list[str] = []

    def run(self, command: str, **_: object) -> Result:
        """Take a script; all goes well."""
        self.ran.append(command)
        return Result(0)


@pytest.fixture
def rootless(monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """The example as if it were installed: its own pyproject.toml names the entry point."""
    import tomllib

    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    entries = [
        metadata.EntryPoint(name, value, base.GROUP)
        for name, value in project["entry-points"][base.GROUP].items()
    ]
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.setattr(metadata, "entry_points", lambda group: entries)  # noqa: ARG005 - its name
    yield load_backend("rootless")
    sys.modules.pop("swarmops_rootless", None)


def test_a_playbook_may_name_it_and_its_nodes_are_where_it_says(rootless: Backend, tmp_path: Path):
    """Socket, data and unit come from the backend."""
    path = tmp_path / "inventory.yml"
    path.write_text("all: {hosts: {h1: }}\n")
    place = target_of(on_backend(read_inventory(path), rootless).hosts["h1"]).place
    assert place.socket == "/run/user/1000/docker.sock"
    assert [
        one.what for one in rootless.missing(FACTS, place, rootless.artifact(FACTS, place))
    ] == ["process"]
    running = msgspec.structs.replace(FACTS, api=ApiFacts(info={}))
    assert rootless.missing(running, place, rootless.artifact(running, place)) == ()
    bare = msgspec.structs.replace(FACTS, is_root=False)
    with pytest.raises(HostError, match="become root"):
        rootless.missing(bare, place, rootless.artifact(bare, place))
    hand = Hand()
    rootless.start(hand, FACTS, place)  # type: ignore[arg-type]
    assert "enable --now docker.service" in hand.ran[0]


def test_a_class_that_lacks_a_method_is_refused(monkeypatch: pytest.MonkeyPatch):
    """In one sentence, with what it was loaded from."""
    monkeypatch.setattr(base, "_BUILT_IN", {"half": "swarmops.fleet.status:Status"})
    with pytest.raises(InputError, match=r"lacks a method of swarmops.backends.base.Backend"):
        load_backend("half")
