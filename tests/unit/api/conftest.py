"""The API served over a fake node: ``api`` asks it by raw HTTP."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
from aiohttp.test_utils import TestClient, TestServer

from swarmops.api import make_app
from tests.unit.api.fake_node import FakeNode


class Answer(NamedTuple):
    """One answer: status, headers, parsed JSON (or text)."""

    status: int
    headers: Any
    body: Any

    @property
    def message(self) -> str:
        """The error's text."""
        return str(self.body["message"])


class Api:
    """Asks a fake node's API."""

    def __init__(self, node: FakeNode, client: TestClient[Any, Any]) -> None:
        self.node = node
        self.client = client

    async def ask(self, method: str, path: str, body: Any = None, **filters: Any) -> Answer:
        """Send one request; a body that is no bytes is sent as JSON; keywords are the filters."""
        params = {"filters": json.dumps(filters)} if filters else None
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.client.request(
            method,
            path,
            params=params,
            data=None if body is None else io.BytesIO(raw),
            headers=None if body is None else {"Content-Type": "application/json"},
        ) as response:
            text = await response.text()
            parsed = json.loads(text) if response.content_type == "application/json" else text
            return Answer(response.status, response.headers, parsed)

    async def get(self, path: str, **filters: Any) -> Any:
        """Return what a successful GET answers."""
        answer = await self.ask("GET", path, **filters)
        assert answer.status == 200, answer
        return answer.body


@pytest.fixture
def node() -> FakeNode:
    """Return a node in no swarm."""
    return FakeNode()


@pytest.fixture
async def api(node: FakeNode) -> AsyncIterator[Api]:
    """Serve the node's API."""
    async with TestClient(TestServer(make_app(node))) as client:
        yield Api(node, client)


@pytest.fixture
async def manager(api: Api) -> Api:
    """The API of a swarm's only manager."""
    await api.node.become_manager()
    return api
