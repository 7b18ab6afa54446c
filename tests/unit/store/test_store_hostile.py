"""An entry that no proposer of ours writes: it is refused whole, and the same on every replica."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

import msgspec
import pytest

from swarmops.model.secret import Secret, SecretSpec
from swarmops.model.task import Task
from swarmops.store import Store, Transaction
from swarmops.store.actions import RULES, AnyAction, Delete, Entry, PutSecret, PutTask, encode
from swarmops.store.errors import WrittenByNewer

AT = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
NONSENSE: dict[str, tuple[AnyAction, type[Exception]]] = {
    "no such table": (Delete("bogus", "x", 1), KeyError),
    "no such spec": (PutTask(expected=0, obj=Task(id="t", service_id="s"), spec=7), IndexError),
}


def secret(secret_id: str) -> Secret:
    """Return a secret that was never stored."""
    return Secret(id=secret_id, spec=SecretSpec(name=secret_id))


def put(store: Store, secret_id: str, *, fence: int = 0) -> bool:
    """Apply the entry of one put as the next; say whether it was taken."""
    tx = Transaction()
    tx.put(secret(secret_id))
    return not store.apply(store.applied + 1, tx.encode(AT, fence=fence)).failures


def led() -> tuple[Store, int]:
    """Return a store with secrets a and b, and the fence of its leader."""
    store = Store()
    fence = store.apply(1, Transaction().encode(AT, seize=True)).index
    assert put(store, "a", fence=fence)
    assert put(store, "b", fence=fence)
    return store, fence


@pytest.mark.parametrize("seize", [False, True], ids=["plain", "seizing"])
@pytest.mark.parametrize("partial", [False, True], ids=["whole", "partial"])
@pytest.mark.parametrize("nonsense", list(NONSENSE))
def test_an_entry_with_nonsense_in_its_middle_leaves_nothing(
    nonsense: str,
    partial: bool,  # noqa: FBT001 - a table
    seize: bool,  # noqa: FBT001 - a table
) -> None:
    """Neither a row nor an event nor a fence: the leader that there was writes on behind it."""
    action, error = NONSENSE[nonsense]
    store, fence = led()
    rows = list(store.secrets)
    around: list[AnyAction] = [Delete("secrets", "b", 3), PutSecret(expected=0, obj=secret("c"))]
    entry = Entry(AT, partial, [*around, action, PutSecret(0, secret("d"))], [], 0, seize, 1)
    with store.watch() as watch:
        with pytest.raises(error):
            store.apply(4, encode(entry))
        assert watch.take() == ([], False)
    assert list(store.secrets) == rows
    assert store.secrets.holder_of_name(secret("c")) is None
    assert store.applied == 4
    assert put(store, "c", fence=fence)


def test_an_entry_that_cannot_be_read_counts_as_applied() -> None:
    """Else a snapshot made behind it would say that it is yet to come."""
    store, fence = led()
    with pytest.raises(msgspec.DecodeError):
        store.apply(4, b"\xc1")
    assert store.applied == 4
    assert put(store, "c", fence=fence)


def test_an_entry_of_a_newer_release_is_not_applied_and_does_not_count() -> None:
    """A replica that left out what it doesn't know would be another than the others, unseen."""
    store, _ = led()
    entry = Entry(AT, False, [PutSecret(expected=0, obj=secret("c"))], [], 0, False, RULES + 1)
    unknown = msgspec.to_builtins(entry)
    unknown[2] = [["PutVolume", 0, {"ID": "v"}]]
    text = f"rules {RULES + 1}, known here: {RULES}.*install"
    for data in (encode(entry), encode(unknown)):
        with pytest.raises(WrittenByNewer, match=text):
            store.apply(4, data)
        assert store.applied == 3
        assert store.secrets.get("c") is None


def test_a_snapshot_of_a_newer_release_is_refused() -> None:
    """And what was there stays."""
    store, _ = led()
    chunks = list(store.snapshot())
    header = msgspec.msgpack.decode(chunks[0][4:])
    header[-1] = RULES + 1
    body = encode(header)
    with pytest.raises(WrittenByNewer):
        store.restore([len(body).to_bytes(4, "big") + body, *chunks[1:]])
    assert [each.id for each in store.secrets] == ["a", "b"]


def test_what_is_stored_changes_only_with_the_rules() -> None:
    """A field that an older manager doesn't know would be lost in its replica alone.

    Whoever changes a stored model raises ``RULES`` (its text says what else that asks for), and
    then puts the new print here.
    """
    _, schemas = msgspec.json.schema_components(
        [Entry], schema_hook=lambda each: {"is": repr(each)}
    )
    shape = _without_texts(schemas)
    found = hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:16]
    assert (RULES, found) == (2, "9f3b82c738f036de")


def _without_texts(schema: object) -> object:
    """Leave out what is for readers."""
    if isinstance(schema, dict):
        return {
            key: _without_texts(value)
            for key, value in schema.items()
            if not (key in {"description", "title"} and isinstance(value, str))
        }
    return [_without_texts(each) for each in schema] if isinstance(schema, list) else schema
