"""The description of the API: complete, consistent in itself, and true to the models."""

from __future__ import annotations

import json
import re
from typing import Any

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
