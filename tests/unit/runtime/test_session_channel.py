"""An agent's end of its session: how it finds out that a manager is gone without a word."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from swarmops.runtime.session_channel import SessionChannel


class Manager:
    """A manager's end that says nothing by itself."""

    def __init__(self, *, answers_pings: bool) -> None:
        self.answers_pings = answers_pings
        self.pings = asyncio.Queue[None]()
        self.socket = web.WebSocketResponse(autoping=False)

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Take note of pings until the agent is gone."""
        await self.socket.prepare(request)
        async for message in self.socket:
            if message.type is WSMsgType.PING:
                self.pings.put_nowait(None)
                if self.answers_pings:
                    await self.socket.pong(message.data)
        return self.socket


@contextlib.asynccontextmanager
async def opened(manager: Manager) -> AsyncIterator[SessionChannel]:
    """Yield an open session with this manager."""
    app = web.Application()
    app.router.add_get("/session", manager.serve)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    client = aiohttp.ClientSession()
    host, port = runner.addresses[0]
    channel = SessionChannel(client, await client.ws_connect(f"http://{host}:{port}/session"))
    try:
        async with asyncio.timeout(60):
            yield channel
    finally:
        await channel.close()
        await runner.cleanup()


async def test_a_manager_that_answers_no_ping_is_given_up() -> None:
    """Its machine has lost its power, so that nothing resets the connection."""
    manager = Manager(answers_pings=False)
    async with opened(manager) as channel:
        channel.expect(0.05)
        with pytest.raises(ConnectionError, match="silent"):
            await channel.receive()
    assert manager.pings.qsize() >= 1


async def test_a_manager_that_answers_pings_may_have_nothing_to_say() -> None:
    """After many times the silence that would end it the session stands."""
    manager = Manager(answers_pings=True)
    async with opened(manager) as channel:
        channel.expect(0.05)
        receiving = asyncio.create_task(channel.receive())
        for _ in range(10):
            await manager.pings.get()
        assert not receiving.done()
        await manager.socket.send_bytes(b"a frame")
        assert await receiving == b"a frame"


async def test_the_period_that_the_manager_says_counts_from_then_on() -> None:
    """One that needs longer than the former period allowed is not given up."""
    manager = Manager(answers_pings=False)
    async with opened(manager) as channel:
        channel.expect(0.05)
        await manager.pings.get()
        channel.expect(60.0)
        clock = asyncio.get_running_loop()
        clock.call_later(0.5, clock.create_task, manager.socket.send_bytes(b"late"))
        assert await channel.receive() == b"late"
