"""Who may read what secrets hold: root on the node itself, over the unix socket, nobody else."""

from __future__ import annotations

import base64
from pathlib import Path

import aiohttp
from aiohttp import web

from swarmops.api import make_app
from tests.unit.api.conftest import Api

SECRET = {"Name": "token", "Data": base64.b64encode(b"open sesame").decode()}


async def test_over_a_network_nobody_is_told(manager: Api):
    """Not even a client that may do everything else."""
    await manager.ask("POST", "/secrets/create", SECRET)
    answer = await manager.ask("GET", "/swarmops/secrets")
    assert answer.status == 403
    assert "sesame" not in str(answer.body)


async def test_the_daemons_own_user_is_told_on_the_socket(manager: Api, tmp_path: Path):
    """The kernel says who asks."""
    await manager.ask("POST", "/secrets/create", SECRET)
    runner = web.AppRunner(make_app(manager.node))
    await runner.setup()
    path = tmp_path / "api.sock"
    await web.UnixSite(runner, str(path)).start()
    connector = aiohttp.UnixConnector(str(path))
    async with (
        aiohttp.ClientSession(connector=connector) as client,
        client.get("http://node/swarmops/secrets") as answer,
    ):
        secrets = await answer.json()
    await runner.cleanup()
    assert [secret["Spec"]["Data"] for secret in secrets] == [SECRET["Data"]]
