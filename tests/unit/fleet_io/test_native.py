"""What the native backend finds missing, decided from facts alone."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

import swarmops
from swarmops.backends.base import (
    ApiFacts,
    Artifact,
    Facts,
    Place,
    PythonFacts,
    UnitFacts,
    load_backend,
)
from swarmops.backends.native import NativeBackend, unit_text
from swarmops.errors import HostError, InputError

PLACE = Place(host="h1", hostname="h1")
BARE = Facts(
    hostname="h1",
    python=PythonFacts(executable="/usr/bin/python3", version=(3, 11, 2), libc_version=(2, 36)),
    system="linux",
    machine="x86_64",
    user="root",
    is_root=True,
    systemd=True,
    unit=UnitFacts(),
    disk_free_bytes=1 << 40,
)
UNIT = hashlib.sha256(unit_text(BARE, PLACE).encode()).hexdigest()
WANTED = Artifact("r1")
DONE = msgspec.structs.replace(
    BARE,
    releases=("r0", "r1"),
    current="r1",
    release_ok=True,
    unit=UnitFacts(active="active", enabled=True, digest=UNIT),
    api=ApiFacts(info={"Swarm": {}}),
)


def but(facts: Facts, **changes: Any) -> Facts:
    """Return the facts with changes."""
    return msgspec.structs.replace(facts, **changes)


@pytest.mark.parametrize(
    ("facts", "missing"),
    [
        (BARE, ["runtime", "unit", "process"]),
        (DONE, []),
        (but(DONE, current="r0"), ["runtime", "process"]),
        (but(DONE, release_ok=False), ["runtime", "process"]),
        (but(DONE, api=None), ["process"]),
        (but(DONE, api=ApiFacts(error="starting")), ["process"]),
        (but(DONE, unit=UnitFacts(active="active", digest=UNIT)), ["unit", "process"]),
        (but(DONE, unit=UnitFacts(enabled=True, digest="other")), ["unit", "process"]),
        (but(DONE, systemd=False, unit=None), []),
        (but(BARE, systemd=False, unit=None), ["runtime", "process"]),
    ],
)
def test_only_what_is_missing_is_named(facts: Facts, missing: list[str]) -> None:
    """From bare to complete, each lack is named once, in the order of doing."""
    found = NativeBackend().missing(facts, PLACE, WANTED)
    assert [item.what for item in found] == missing
    assert all(item.reason for item in found)


@pytest.mark.parametrize(
    ("theirs", "backward"),
    [
        ("0.2.0", True),
        ("0.1.1rc1", True),
        ("1.0", True),
        (swarmops.__version__, False),
        ("0.1", False),
        ("0.0.9", False),
        ("unknown", False),
        (None, False),
    ],
)
def test_a_runtime_that_would_go_back_to_an_older_version_is_said_to(
    theirs: str | None,
    backward: bool,  # noqa: FBT001 - a table
) -> None:
    """Somebody applied with a newer tool than this one; the order is of numbers."""
    old = but(DONE, current="r0", api=ApiFacts(info={"Swarm": {}, "ServerVersion": theirs}))
    (runtime, _) = NativeBackend().missing(old, PLACE, WANTED)
    assert runtime.backward is backward
    assert (f"it goes back from {theirs} to {swarmops.__version__}" in runtime.reason) is backward


@pytest.mark.parametrize("api", [None, ApiFacts(info={})])
def test_a_local_node_lacks_at_most_its_process(api: ApiFacts | None) -> None:
    """Nothing is copied for a local node, and root is not needed."""
    backend = NativeBackend()
    place = msgspec.structs.replace(PLACE, local=True)
    facts = but(BARE, is_root=False, unit=None, systemd=False, api=api)
    artifact = backend.artifact(facts, place)
    assert artifact.release == ""
    found = [item.what for item in backend.missing(facts, place, artifact)]
    assert found == ([] if api else ["process"])


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (but(BARE, is_root=False, user="ops"), "user ops is not root.*ansible_become: true"),
        (but(BARE, system="darwin"), "the runtime needs Linux"),
        (but(BARE, disk_free_bytes=1 << 20), "only 1 MiB are free"),
    ],
)
def test_an_impossible_host_is_refused_before_anything_is_done(facts: Facts, words: str) -> None:
    """A host that can't be made right is one sentence with the cure."""
    with pytest.raises(HostError, match=words):
        NativeBackend().missing(facts, PLACE, WANTED)


def test_the_unit_keeps_tasks_and_watches_the_daemon() -> None:
    """The unit says what DESIGN promises: notify, watchdog, restarts, tasks that survive."""
    lines = unit_text(BARE, PLACE).splitlines()
    for line in ("Type=notify", "WatchdogSec=30", "Restart=always", "KillMode=process"):
        assert line in lines
    assert (
        "ExecStart=/usr/bin/python3 -m swarmops.runtime --data-dir /var/lib/swarmops "
        "--socket /run/swarmops/swarmops.sock --hostname h1 --log-level info"
    ) in lines


def test_an_unknown_backend_names_the_known_ones() -> None:
    """A typing error in the playbook's backend is easy to mend."""
    assert load_backend("native").name == "native"
    with pytest.raises(InputError, match=r"no backend is called 'natve': known are .*native"):
        load_backend("natve")
