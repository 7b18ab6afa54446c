"""Whatever a model allows, posted where the API takes it: stored or refused in words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from swarmops.api.openapi import OPERATIONS
from swarmops.model.secret import Config, ConfigSpec, Secret, SecretSpec
from swarmops.model.service import Service, ServiceSpec
from tests.unit.api.conftest import Api
from tests.unit.model.test_every_model import instances

ACCESS = "/access/"
"""Certificates need an authority: the whole daemon is sent these, in tests/local/test_fuzz.py."""
POSTED = {
    path: operation.body
    for (method, path), operation in OPERATIONS.items()
    if method == "POST" and operation.body and not path.startswith(ACCESS)
}
LISTS = ("services", "secrets", "configs", "networks", "nodes", "tasks")
OUTSIDE = ("/swarm/init", "/swarm/join")
EXAMPLES = 8


def drawn(model: type[Any]) -> list[Any]:
    """Return some objects of a model."""
    found: list[Any] = []

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(instances(model, 4))
    def draw(value: Any) -> None:
        found.append(value)

    draw()
    return found


@pytest.mark.parametrize(
    ("path", "model"), [(path, POSTED[path]) for path in sorted(POSTED)], ids=sorted(POSTED)
)
async def test_any_object_of_a_model_is_stored_or_refused_in_words(
    manager: Api, path: str, model: type[Any]
):
    """Nothing is an internal error, and what is stored is listed afterwards."""
    await manager.node.put(
        Service(id="s", spec=ServiceSpec(name="s")),
        Secret(id="s", spec=SecretSpec(name="s", data="eA==")),
        Config(id="s", spec=ConfigSpec(name="s", data="eA==")),
    )
    node_id = (await manager.get("/nodes"))[0]["ID"]
    changes = path.endswith("/update")
    path = path.replace("{id}", node_id if path.startswith("/nodes") else "s")
    for value in drawn(model):
        if path in OUTSIDE:
            await manager.node.leave(force=True)
        shown = await manager.get(path.removesuffix("/update")) if changes else {}
        target = f"{path}?version={shown['Version']['Index']}" if changes else path
        answer = await manager.ask("POST", target, msgspec.json.encode(value))
        assert "internal error" not in str(answer.body), value
        assert answer.status < 500 or answer.body["message"], value
    for each in LISTS if path not in OUTSIDE else ():
        assert isinstance(await manager.get(f"/{each}"), list)
