"""A registry's credentials: kept with the spec they came with, and never shown to anybody."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from swarmops.model.base import given
from swarmops.model.service import ServiceInternal
from tests.unit.api.conftest import Api

SPEC: dict[str, Any] = {
    "Name": "web",
    "TaskTemplate": {"ContainerSpec": {"Image": "registry.example:5000/web:1"}},
}
OTHER = SPEC | {"Labels": {"a": "b"}}


def auth(password: str) -> str:
    """Return what clients send for the password."""
    raw = json.dumps({"username": "ops", "password": password}).encode()
    return base64.urlsafe_b64encode(raw).decode()


async def post(api: Api, path: str, spec: Any, header: str | None) -> tuple[int, str]:
    """Send the spec; return status and text."""
    headers = {"Content-Type": "application/json"}
    if header is not None:
        headers["X-Registry-Auth"] = header
    async with api.client.post(path, data=json.dumps(spec), headers=headers) as response:
        return response.status, await response.text()


async def update(api: Api, spec: Any, header: str | None = None, query: str = "") -> None:
    """Update the service at its present version."""
    index = (await api.get("/services/web"))["Version"]["Index"]
    status, text = await post(api, f"/services/web/update?version={index}{query}", spec, header)
    assert status == 200, text


def kept(api: Api) -> str:
    """Return the password that agents would be given."""
    assert api.node.store is not None
    service = api.node.store.services.named("web")
    assert service is not None
    sent = given(service.internal, ServiceInternal()).registry_auth
    return str(json.loads(base64.urlsafe_b64decode(sent))["password"]) if sent else ""


async def test_credentials_stay_with_the_service_until_others_come(manager: Api):
    """An update without the header keeps them; one with it replaces them, spec changed or not."""
    assert (await post(manager, "/services/create", SPEC, auth("one")))[0] == 201
    assert kept(manager) == "one"
    await update(manager, SPEC)
    await update(manager, OTHER)
    assert kept(manager) == "one"
    await update(manager, OTHER, auth("two"))
    assert kept(manager) == "two"
    await update(manager, SPEC, auth("three"))
    assert kept(manager) == "three"


async def test_credentials_go_back_with_the_spec(manager: Api):
    """A rollback brings the former ones; `registryAuthFrom=previous-spec` takes them as well."""
    await post(manager, "/services/create", SPEC, auth("one"))
    await update(manager, OTHER, auth("two"))
    await update(manager, SPEC, None, "&rollback=previous")
    assert kept(manager) == "one"
    await update(manager, SPEC, None, "&rollback=previous")
    assert kept(manager) == "two"
    await update(manager, OTHER, None, "&registryAuthFrom=spec")
    assert kept(manager) == "two"
    await update(manager, OTHER, None, "&registryAuthFrom=previous-spec")
    assert kept(manager) == "one"


async def test_there_must_be_a_previous_spec_to_take_them_from(manager: Api):
    """Docker's words where there is none."""
    await post(manager, "/services/create", SPEC, auth("one"))
    index = (await manager.get("/services/web"))["Version"]["Index"]
    path = f"/services/web/update?version={index}&registryAuthFrom=previous-spec"
    status, text = await post(manager, path, OTHER, None)
    assert (status, json.loads(text)["message"]) == (500, "service does not have a previous spec")
    assert kept(manager) == "one"


@pytest.mark.parametrize("nothing", ["", "e30=", "bnVsbA=="])
async def test_a_client_without_credentials_sends_none(manager: Api, nothing: str):
    """No header, an empty object or null are the same."""
    assert (await post(manager, "/services/create", SPEC, nothing))[0] == 201
    assert kept(manager) == ""


DEEP = base64.urlsafe_b64encode(b'{"hunter2":' + b"[" * 3000).decode()


@pytest.mark.parametrize(
    "nonsense",
    ["hunter2", "aHVudGVyMg==", "Imh1bnRlcjIi", DEEP],
    ids=("no-base64", "no-json", "no-object", "thousands-deep"),
)
async def test_nonsense_is_refused_without_being_shown(manager: Api, nonsense: str):
    """With 400, before anything is stored."""
    status, text = await post(manager, "/services/create", SPEC, nonsense)
    assert status == 400
    assert "X-Registry-Auth" in text
    assert "hunter2" not in text
    assert await manager.get("/services") == []


async def test_nobody_is_shown_the_credentials(manager: Api):
    """Neither in what the API says of the service, nor in what a log would say of the object."""
    sent = auth("hunter2")
    await post(manager, "/services/create", SPEC, sent)
    await update(manager, OTHER)
    assert manager.node.store is not None
    said = [
        json.dumps(await manager.get("/services")),
        json.dumps(await manager.get("/services/web?insertDefaults=true")),
        json.dumps(await manager.get("/services?status=true")),
        repr(list(manager.node.store.services)),
    ]
    assert not [text for text in said if sent in text or "hunter2" in text]
