"""The description of the API: complete, consistent in itself, and true to the models."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from swarmops.api import openapi
from swarmops.api.app import RESOURCES
from swarmops.api.openapi import OPERATIONS, undescribed
from tests.unit.api.conftest import Api

ROUTES = [route for resource in RESOURCES for route in resource.ROUTES]


async def test_every_route_is_described_and_nothing_else(api: Api):
    """In words of its own, with its path's parameters."""
    paths = (await api.get("/v1.50/openapi.json"))["paths"]
    served = {(r.method.lower(), re.sub(r":[^}]+\}", "}", r.path)) for r in ROUTES}
    assert {(method, path) for path, methods in paths.items() for method in methods} == served
    assert undescribed(ROUTES) == []
    assert {(method.lower(), path) for method, path in OPERATIONS} == served
    for path, methods in paths.items():
        for one in methods.values():
            found = {p["name"] for p in one["parameters"] if p["in"] == "path"}
            assert found == set(re.findall(r"\{(\w+)\}", path))
            assert one["summary"]


async def test_references_lead_somewhere_and_what_managers_keep_is_not_shown(api: Api):
    """Docker's names; a network's own ``Internal`` is another thing and stays."""
    document = await api.get("/openapi.json")
    schemas: dict[str, Any] = document["components"]["schemas"]
    for reference in re.findall(r"#/components/schemas/(\w+)", json.dumps(document)):
        assert reference in schemas
    assert "TaskTemplate" in schemas["ServiceSpec"]["properties"]
    assert "Internal" not in schemas["Node"]["properties"]
    assert "Internal" not in schemas["Service"]["properties"]
    assert "Internal" in schemas["NetworkSpec"]["properties"]
    body = document["paths"]["/services/create"]["post"]["requestBody"]["content"]
    assert body["application/json"]["schema"] == {"$ref": "#/components/schemas/ServiceSpec"}


def test_every_parameter_that_a_handler_reads_is_described_and_no_other():
    """By its name, wherever the source asks a request for it."""
    source = "".join(path.read_text() for path in Path(openapi.__file__).parent.glob("*.py"))
    asked = r'(?:request\.query\.get\(|(?:truthy|flag)\(request, )"(\w+)"'
    described = {name for one in OPERATIONS.values() for name in one.query.split()}
    assert described == set(re.findall(asked, source)) | set(openapi._LOGS.split())


async def test_answers_are_as_described(manager: Api):
    """What is made, changed and pruned has the described names; lines of output two media types."""
    paths = (await manager.get("/openapi.json"))["paths"]
    schemas = (await manager.get("/openapi.json"))["components"]["schemas"]

    def names(method: str, path: str, status: int = 200) -> set[str]:
        content = paths[path][method]["responses"][str(status)]["content"]
        reference = content["application/json"]["schema"]["$ref"]
        return set(schemas[reference.rpartition("/")[2]]["properties"])

    web = {"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "host"}}}
    made = await manager.ask("POST", "/services/create", web)
    assert set(made.body) <= names("post", "/services/create", 201) == {"ID", "Warnings"}
    index = (await manager.get("/services/web"))["Version"]["Index"]
    changed = await manager.ask("POST", f"/services/web/update?version={index}", web)
    assert set(changed.body) == names("post", "/services/{id}/update")
    blue = {"Name": "blue", "Driver": "overlay"}
    made = await manager.ask("POST", "/networks/create", blue)
    assert set(made.body) == names("post", "/networks/create", 201) == {"Id", "Warning"}
    pruned = await manager.ask("POST", "/networks/prune")
    assert set(pruned.body) == names("post", "/networks/prune")
    assert pruned.body["NetworksDeleted"] == ["blue"]
    assert set(await manager.get("/swarm/unlockkey")) == names("get", "/swarm/unlockkey")
    refused = await manager.ask("GET", "/nodes/ghost")
    assert set(refused.body) == set(schemas["Refusal"]["properties"]) == {"message"}
    printed = paths["/tasks/{id}/logs"]["get"]["responses"]["200"]["content"]
    assert sorted(printed) == [
        "application/vnd.docker.multiplexed-stream",
        "application/vnd.docker.raw-stream",
    ]
    headers = paths["/services/create"]["post"]["parameters"]
    assert {"X-Registry-Auth"} == {one["name"] for one in headers if one["in"] == "header"}
