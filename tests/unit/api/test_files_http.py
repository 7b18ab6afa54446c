"""Secrets and configs over HTTP: bounded, named once, kept while used, and secrets unseen."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from swarmops.model.base import given
from swarmops.model.session import Assignments
from swarmops.model.swarm import ClusterInternal
from swarmops.store import Transaction
from swarmops.store.actions import PutSecret
from tests.unit.api.conftest import Api

KINDS = ["secret", "config"]
INVALID = "rpc error: code = InvalidArgument desc = "


def data(raw: bytes = b"hello\n") -> str:
    """Return the bytes as a body has them."""
    return base64.b64encode(raw).decode()


async def create(api: Api, kind: str, name: str = "s1", **fields: Any) -> str:
    """Create one; return its ID."""
    body = {"Name": name, "Data": data()} | fields
    answer = await api.ask("POST", f"/{kind}s/create", body)
    assert answer.status == 201, answer
    return str(answer.body["ID"])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_file_is_created_listed_inspected_and_removed(manager: Api, kind: str):
    """A config's data comes back, a secret's never."""
    object_id = await create(manager, kind, Labels={"a": "b"})
    expected = {"Name": "s1", "Labels": {"a": "b"}}
    if kind == "config":
        expected["Data"] = data()
    for reference in ("s1", object_id, object_id[:7]):
        shown = await manager.get(f"/{kind}s/{reference}")
        assert (shown["ID"], shown["Spec"]) == (object_id, expected)
    assert await manager.get(f"/{kind}s", name={"s": True}, label=["a=b"]) == [shown]
    assert await manager.get(f"/{kind}s", name=["x"]) == []
    answer = await manager.ask("DELETE", f"/{kind}s/s1")
    assert (answer.status, answer.body) == (204, "")
    assert await manager.get(f"/{kind}s") == []


@pytest.mark.parametrize("kind", KINDS)
async def test_lists_are_filtered_by_id_and_name(manager: Api, kind: str):
    """Both may be cut short; several values are an or, several keys an and."""
    ids = {name: await create(manager, kind, name) for name in ("web", "web2", "db")}

    async def found(**filters: Any) -> list[str]:
        return sorted(one["Spec"]["Name"] for one in await manager.get(f"/{kind}s", **filters))

    assert await found(id=[ids["web"]]) == ["web"]
    assert await found(id=[ids["web"][:10], ids["db"]]) == ["db", "web"]
    assert await found(id=["nonsense"]) == []
    assert await found(name=["we"]) == ["web", "web2"]
    assert await found(name=["web2", "d"], id=[ids["web2"]]) == ["web2"]
    if kind == "secret":
        assert await found(names=["web"]) == ["web"]
        assert await found(names=["we"]) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_names_are_unique(manager: Api, kind: str):
    """The conflict has Docker's text."""
    await create(manager, kind)
    answer = await manager.ask("POST", f"/{kind}s/create", {"Name": "s1", "Data": data()})
    assert (answer.status, answer.message) == (
        409,
        f"rpc error: code = AlreadyExists desc = {kind} s1 already exists",
    )


@pytest.mark.parametrize(
    ("kind", "body", "status", "message"),
    [
        (
            "secret",
            {"Name": "s"},
            400,
            INVALID + "secret data must be larger than 0 and less than 512000 bytes",
        ),
        (
            "secret",
            {"Name": "s", "Data": data(b"x" * 512_000)},
            400,
            INVALID + "secret data must be larger than 0 and less than 512000 bytes",
        ),
        (
            "config",
            {"Name": "s", "Data": data(b"x" * 1_024_000)},
            400,
            INVALID + "config data must be larger than 0 and less than 1024000 bytes",
        ),
        (
            "config",
            {"Name": "-s", "Data": data()},
            400,
            INVALID + "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and "
            "end character must be [a-zA-Z0-9]",
        ),
        ("secret", {"Data": data()}, 400, INVALID + "name must be provided"),
        (
            "secret",
            {"Name": "drv", "Driver": {"Name": "driver"}},
            500,
            'rpc error: code = Unknown desc = plugin "driver" not found',
        ),
    ],
)
async def test_files_that_are_refused(
    manager: Api, kind: str, body: Any, status: int, message: str
):
    """Names and sizes are bounded; there are no secret drivers."""
    answer = await manager.ask("POST", f"/{kind}s/create", body)
    assert (answer.status, answer.message) == (status, message)


async def test_data_that_is_no_base64_is_refused_without_repeating_it(manager: Api):
    """A secret is never in an error."""
    answer = await manager.ask("POST", "/secrets/create", {"Name": "s", "Data": "not*secret"})
    assert (answer.status, answer.message) == (400, "illegal base64 data at input byte 0")


async def test_what_is_secret_shows_in_no_repr(manager: Api):
    """Whatever prints an object, a frame to an agent or an entry of the log: a crash, for one."""
    await create(manager, "secret")
    store = manager.node.store
    assert store is not None
    assert store.cluster is not None
    [secret] = store.secrets
    frame = Assignments(True, [], [], [secret], [], [])
    internal = given(store.cluster.internal, ClusterInternal())
    for each in (secret, frame, PutSecret(0, secret), store.cluster):
        shown = repr(each)
        assert data() not in shown
        assert "KEY" not in shown
        assert internal.join_tokens.worker not in shown
    assert "name='s1'" in repr(secret)


@pytest.mark.parametrize("kind", KINDS)
async def test_only_labels_can_be_updated(manager: Api, kind: str):
    """The same data, or none, is accepted: every stack deploy sends it again."""
    await create(manager, kind)

    async def update(**fields: Any) -> tuple[int, Any]:
        index = (await manager.get(f"/{kind}s/s1"))["Version"]["Index"]
        answer = await manager.ask(
            "POST", f"/{kind}s/s1/update?version={index}", {"Name": "s1"} | fields
        )
        return answer.status, answer.body

    assert await update(Labels={"x": "y"}, Data=data()) == (200, "")
    assert (await manager.get(f"/{kind}s/s1"))["Spec"]["Labels"] == {"x": "y"}
    assert await update(Labels={}) == (200, "")
    refused = (400, {"message": INVALID + "only updates to Labels are allowed"})
    assert await update(Data=data(b"other")) == refused
    assert await update(Name="s2") == refused


@pytest.mark.parametrize("kind", KINDS)
async def test_a_file_that_is_in_use_stays(manager: Api, kind: str):
    """The services that use it are named."""
    object_id = await create(manager, kind)
    title = kind.capitalize()
    reference = {"File": {"Name": "f"}, f"{title}ID": object_id, f"{title}Name": "s1"}
    template = {"ContainerSpec": {"Image": "busybox", f"{title}s": [reference]}}
    for name in ("one", "two"):
        answer = await manager.ask(
            "POST", "/services/create", {"Name": name, "TaskTemplate": template}
        )
        assert answer.status == 201, answer
    answer = await manager.ask("DELETE", f"/{kind}s/s1")
    assert (answer.status, answer.message) == (
        400,
        f"{INVALID}{kind} 's1' is in use by the following services: one, two",
    )
    await manager.ask("DELETE", "/services/two")
    answer = await manager.ask("DELETE", f"/{kind}s/s1")
    assert answer.message == f"{INVALID}{kind} 's1' is in use by the following service: one"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_file_whose_labels_change_meanwhile_is_removed_all_the_same(
    manager: Api, monkeypatch: pytest.MonkeyPatch, kind: str
):
    """Who removes it has named no version."""
    await create(manager, kind)
    index = (await manager.get(f"/{kind}s/s1"))["Version"]["Index"]
    store = manager.node.store
    assert store is not None
    commit = store.commit

    async def after_another(tx: Transaction) -> None:
        monkeypatch.setattr(store, "commit", commit)
        labels = {"Name": "s1", "Labels": {"a": "b"}}
        answer = await manager.ask("POST", f"/{kind}s/s1/update?version={index}", labels)
        assert answer.status == 200
        await commit(tx)

    monkeypatch.setattr(store, "commit", after_another)
    assert (await manager.ask("DELETE", f"/{kind}s/s1")).status == 204
    assert await manager.get(f"/{kind}s") == []
