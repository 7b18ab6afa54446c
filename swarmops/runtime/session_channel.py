"""An agent's session as a WebSocket, seen from the agent.

Made by ``dial``. Frames are whole messages. It pings the manager itself, since only the manager
knows how often: a swarm of thousands, whose heartbeats are rarer, is to have fewer pings too, and
its managers, when they are slow for a moment, must not lose all agents at once, whose return would
make them slower still.
"""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp

from swarmops.model.defaults import HEARTBEAT_PERIOD_S

_PERIODS_PER_PING = 2
_PERIODS_OF_SILENCE = 3
"""A manager that sends nothing for so long, not even what answers a ping, has lost its power."""


class SessionChannel:
    """The open session. ``expect`` says how often the manager is pinged."""

    def __init__(
        self, client: aiohttp.ClientSession | None, socket: aiohttp.ClientWebSocketResponse
    ) -> None:
        self._client = client
        self._socket = socket
        self._period_s = float(HEARTBEAT_PERIOD_S)
        self._pinging = asyncio.create_task(self._ping())

    def expect(self, period_s: float) -> None:
        """Ping and wait by this period of heartbeats, from the next ping and frame on."""
        self._period_s = period_s

    async def send(self, frame: bytes) -> None:
        """Send one frame; ConnectionError once the manager is gone."""
        try:
            await self._socket.send_bytes(frame)
        except (aiohttp.ClientError, RuntimeError) as exc:
            raise ConnectionError(str(exc)) from exc

    async def receive(self) -> bytes:
        """Return the next frame; ConnectionError once the manager is gone, or silent."""
        try:
            message = await self._socket.receive(_PERIODS_OF_SILENCE * self._period_s)
        except TimeoutError as exc:
            raise ConnectionError("the manager is silent") from exc
        if message.type is not aiohttp.WSMsgType.BINARY:
            raise ConnectionError("the manager closed the session")
        data: bytes = message.data
        return data

    async def close(self) -> None:
        """End the session."""
        self._pinging.cancel()
        await self._socket.close()
        if self._client is not None:
            await self._client.close()

    async def _ping(self) -> None:
        with contextlib.suppress(aiohttp.ClientError, OSError, RuntimeError):
            while True:
                await asyncio.sleep(_PERIODS_PER_PING * self._period_s)
                await self._socket.ping()
