"""A manager's end of an agent's session: agents that don't take what they are sent."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web

from swarmops.runtime import requests
from swarmops.runtime.requests import ServedChannel

FRAMES_MAX = 20_000
"""Of 8 KB: far more than all buffers between two processes of one machine."""


async def test_an_agent_that_reads_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small frames wait for nobody until the buffers are full, and then not for long."""
    monkeypatch.setattr(requests, "_SEND_TIMEOUT_S", 0.2)
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def session(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        channel = ServedChannel(socket, request.transport)
        sent = 0
        try:
            while sent < FRAMES_MAX:
                await channel.send(bytes(8 * 1024))
                sent += 1
        except ConnectionError:
            pass
        ended.set_result(sent)
        return socket

    app = web.Application()
    app.router.add_get("/session", session)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(f"http://{host}:{port}/session"),
        asyncio.timeout(60),
    ):
        assert 0 < await ended < FRAMES_MAX
        await runner.cleanup()
