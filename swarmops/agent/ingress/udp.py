"""Passes UDP datagrams on: each client keeps its task, as long as one of them speaks.

Used by ``proxy``. A flow is a client's address and the address of ours that it wrote to, so that
answers come from there on machines with many. It ends after 30 s of silence, or when its task
is gone or refuses; the client's next datagram then goes to another task. Datagrams that cannot be
sent at once are lost, as on any network.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct
from collections import OrderedDict
from typing import Any

from swarmops.agent.ingress.backends import Address, Backends

IDLE_S = 30.0
FLOWS_MAX = 4096
"""Of one port; the one that was silent for longest makes room."""
DATAGRAM_BYTES_MAX = 65_535
BURST = 64
"""Other work of the event loop gets its turn after so many datagrams."""
_IP_PKTINFO = 8  # linux/in.h; Python names it from 3.14 on
_PKTINFO = struct.Struct("@I4s4s")

Client = tuple[Any, bytes]
"""A client's socket address, and the address of ours that it wrote to, packed (IPv4)."""


class Flow:
    """One client's way to one task."""

    def __init__(self, port: UDPPort, client: Client, task: Address) -> None:
        self._port = port
        self._client = client
        self.task = task
        family = socket.AF_INET6 if ":" in task[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.connect(task)
        except OSError:
            self._socket.close()
            raise
        self.spoke_s = 0.0
        asyncio.get_running_loop().add_reader(self._socket, self._answers)

    def send(self, data: bytes) -> None:
        """Send a datagram to the task. Raises ConnectionRefusedError if nobody listens there."""
        self.spoke_s = asyncio.get_running_loop().time()
        with contextlib.suppress(BlockingIOError):
            self._socket.send(data)

    def close(self) -> None:
        """End the flow."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _answers(self) -> None:
        for _ in range(BURST):
            try:
                data = self._socket.recv(DATAGRAM_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError:
                self._port.refused(self._client, self)
                return
            self.spoke_s = asyncio.get_running_loop().time()
            self._port.answer(self._client, data)


class UDPPort:
    """One published UDP port."""

    def __init__(self, backends: Backends) -> None:
        self.backends = backends
        self._socket: socket.socket | None = None
        self._flows: OrderedDict[Client, Flow] = OrderedDict()
        self._sweeping: asyncio.TimerHandle | None = None

    async def listen(self, host: str, number: int) -> None:
        """Begin to take datagrams. Raises OSError if something else has the port."""
        address = ipaddress.ip_address(host)
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004
        listener = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            if family == socket.AF_INET:
                listener.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            listener.bind((host, number))
        except OSError:
            listener.close()
            raise
        self._socket = listener
        loop = asyncio.get_running_loop()
        loop.add_reader(listener, self._datagrams, listener)
        self._sweeping = loop.call_later(IDLE_S, self._sweep)

    def stop(self) -> None:
        """Take no more, and end every flow."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        for client in list(self._flows):
            self._end(client)

    def answer(self, client: Client, data: bytes) -> None:
        """Send a task's datagram to its client, from the address that the client knows."""
        if self._socket is None:
            return
        address, ours = client
        source = (
            [(socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(0, ours, bytes(4)))] if ours else []
        )
        with contextlib.suppress(OSError):  # the client is gone, or its network is full
            self._socket.sendmsg([data], source, 0, address)

    def refused(self, client: Client, flow: Flow) -> None:
        """Take note that nobody listens at the flow's end."""
        self.backends.failed(flow.task, asyncio.get_running_loop().time())
        self._end(client)

    def _datagrams(self, listener: socket.socket) -> None:
        for _ in range(BURST):
            try:
                data, extra, _, sender = listener.recvmsg(
                    DATAGRAM_BYTES_MAX, socket.CMSG_SPACE(_PKTINFO.size)
                )
            except OSError:  # nothing more for now
                return
            ours = next(
                (_PKTINFO.unpack(value)[2] for _, kind, value in extra if kind == _IP_PKTINFO), b""
            )
            self._pass_on((sender, ours), data)

    def _pass_on(self, client: Client, data: bytes) -> None:
        flow = self._flows.get(client)
        if flow is not None and flow.task not in self.backends:
            self._end(client)
            flow = None
        for _ in range(2):  # a refusal of the datagram before shows itself at this one
            flow = flow or self._begin(client)
            if flow is None:
                return
            self._flows.move_to_end(client)
            try:
                flow.send(data)
            except OSError:
                self.refused(client, flow)
                flow = None
            else:
                return

    def _begin(self, client: Client) -> Flow | None:
        for task in self.backends.candidates(asyncio.get_running_loop().time()):
            with contextlib.suppress(OSError):
                flow = self._flows[client] = Flow(self, client, task)
                if len(self._flows) > FLOWS_MAX:
                    self._end(next(iter(self._flows)))
                return flow
        return None

    def _end(self, client: Client) -> None:
        flow = self._flows.pop(client, None)
        if flow is not None:
            flow.close()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        before_s = loop.time() - IDLE_S
        for client in [each for each, flow in self._flows.items() if flow.spoke_s < before_s]:
            self._end(client)
        self._sweeping = loop.call_later(IDLE_S / 3, self._sweep)
