"""Raft's streams: TLS on a socket that the event loop watches, and nothing between the two.

Used by ``dial`` and ``port`` for Raft alone. asyncio's own TLS decrypts into buffers in memory and
is made of a dozen calls for each message; Raft sends many small ones for ever, and an idle member
would spend a sixth of its time in there (``bench.raft idle``). HTTP stays with asyncio's.

A stream that ends says no farewell of TLS: Raft's frames have lengths, so that none can be cut off
unnoticed.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import ssl
import termios
from collections.abc import Callable
from typing import Any

_RECORD_BYTES = 16 * 1024
"""The most that one record of TLS holds."""
_RECORDS_PER_TURN, _BYTES_PER_TURN = 256, 256 * 1024
_WRITE_BYTES = 256 * 1024
_HIGH_BYTES = 64 * 1024
_NOTHING = bytes(4)
"""No bytes to read, as ioctl_tty(2) FIONREAD says it."""


async def dialled(host: str, port: int, context: ssl.SSLContext) -> TlsStream:
    """Connect, and shake hands. Raises OSError."""
    loop = asyncio.get_running_loop()
    error: OSError | None = None
    numeric = _numeric(host, port)
    for family, kind, protocol, _, addr in numeric or await loop.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(connection, addr)
            return await _shaken(connection, context, server_hostname=host)
        except OSError as exc:
            connection.close()
            error = exc
        except BaseException:
            connection.close()
            raise
    raise error or OSError(f"{host} has no address")


def _numeric(host: str, port: int) -> list[Any]:
    """Resolve an address of numbers, as Raft's are; nothing for a name.

    A name takes one of the pool's threads, all of which may wait for a disk that hangs.
    """
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except socket.gaierror:
        return []


async def accepted(connection: socket.socket, context: ssl.SSLContext) -> TlsStream:
    """Shake hands with whoever dialled; the socket is this one's from now on. Raises OSError."""
    try:
        return await _shaken(connection, context, server_side=True)
    except BaseException:
        connection.close()
        raise


async def _shaken(connection: socket.socket, context: ssl.SSLContext, **how: Any) -> TlsStream:
    tls = context.wrap_socket(connection, do_handshake_on_connect=False, **how)
    loop = asyncio.get_running_loop()
    try:
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await _once(tls, loop.add_reader, loop.remove_reader)
            except ssl.SSLWantWriteError:
                await _once(tls, loop.add_writer, loop.remove_writer)
            else:
                return TlsStream(tls)
    except BaseException:
        tls.close()
        raise


async def _once(
    tls: ssl.SSLSocket, begin: Callable[..., object], end: Callable[..., object]
) -> None:
    """Wait until the socket can be read, or written."""
    ready = asyncio.Event()
    begin(tls.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        end(tls.fileno())


class TlsStream(asyncio.Transport):
    """One connection after its handshake. Nothing is read before it has a protocol."""

    def __init__(self, tls: ssl.SSLSocket) -> None:
        super().__init__({"socket": tls, "ssl_object": tls, "peercert": tls.getpeercert()})
        self._tls = tls
        self._fd = tls.fileno()
        self._loop = asyncio.get_running_loop()
        self._protocol: asyncio.Protocol | None = None
        self._unsent = bytearray()
        self._high, self._low = _HIGH_BYTES, _HIGH_BYTES // 4
        self._is_paused = False
        self._is_closing = False
        self._is_lost = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Let the protocol hear what comes from now on."""
        assert isinstance(protocol, asyncio.Protocol)  # noqa: S101 - Raft's are
        began = self._protocol is not None
        self._protocol = protocol
        if not began and not self._is_closing:
            self._loop.add_reader(self._fd, self._readable)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return what hears."""
        return self._protocol or asyncio.Protocol()

    def is_closing(self) -> bool:
        """Say whether it ends, or has ended."""
        return self._is_closing

    # Reading.

    def _readable(self) -> None:
        """Hear all that is here, within bounds: its next turn may be far off (``fair_loop``)."""
        records: list[bytes] = []
        size, has_ended, error = 0, False, None
        try:
            while size < _BYTES_PER_TURN and len(records) < _RECORDS_PER_TURN:
                record = self._tls.recv(_RECORD_BYTES)
                if not record:
                    has_ended = True
                    break
                records.append(record)
                size += len(record)
                # Cheaper than the exception of being refused: an idle member hears one at a time.
                if fcntl.ioctl(self._fd, termios.FIONREAD, _NOTHING) == _NOTHING:
                    break
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as exc:
            has_ended, error = True, exc
        if records:
            self._hear(records[0] if len(records) == 1 else b"".join(records))
        if has_ended:
            self._lose(error)

    def _hear(self, data: bytes) -> None:
        if self._protocol is None:
            return
        try:
            self._protocol.data_received(data)
        except Exception as error:  # noqa: BLE001 - told as asyncio's own transports do
            context = {"message": "a protocol raised", "exception": error, "transport": self}
            self._loop.call_exception_handler(context)
            self._lose(error)

    # Writing.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, or keep what can't be sent yet."""
        if self._is_closing:
            return
        if self._unsent:
            self._unsent += data
        else:
            sent = self._sent(data)
            if sent is None or sent == len(data):
                return
            self._unsent += memoryview(data)[sent:]
            self._loop.add_writer(self._fd, self._writable)
        if len(self._unsent) > self._high and not self._is_paused:
            self._is_paused = True
            if self._protocol is not None:
                self._protocol.pause_writing()

    def _writable(self) -> None:
        sent = self._sent(bytes(self._unsent[:_WRITE_BYTES]))
        if sent is None:
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._fd)
            if self._is_closing:
                self._lose(None)
                return
        if self._is_paused and len(self._unsent) <= self._low:
            self._is_paused = False
            if self._protocol is not None:
                self._protocol.resume_writing()

    def _sent(self, data: bytes | bytearray | memoryview) -> int | None:
        """Send as much as goes; say how much that was, None where the stream is broken."""
        view, sent = memoryview(data), 0
        try:
            while sent < len(view):
                # A record at a time: of one that didn't go, OpenSSL wants the same bytes again.
                sent += self._tls.send(view[sent : sent + _RECORD_BYTES])
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        except OSError as error:
            self._is_closing = True
            self._loop.remove_writer(self._fd)
            self._loop.call_soon(self._hear_last_words, error)
            return None
        return sent

    def _hear_last_words(self, error: Exception) -> None:
        """End, once what the peer had said before is heard: maybe that this member was removed."""
        if not self._is_lost:
            self._readable()
            self._lose(error)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait here."""
        return len(self._unsent)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Say at how many bytes the protocol is asked to pause, and to resume."""
        self._high = _HIGH_BYTES if high is None else high
        self._low = self._high // 4 if low is None else low

    # The end.

    def close(self) -> None:
        """Send what waits, then end; nothing is read any more."""
        if not self._is_closing:
            self._is_closing = True
            self._loop.remove_reader(self._fd)
            if not self._unsent:
                self._lose(None)

    def abort(self) -> None:
        """End now."""
        self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if self._is_lost:
            return
        self._is_lost = self._is_closing = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._unsent.clear()
        self._loop.call_soon(self._end, error)

    def _end(self, error: Exception | None) -> None:
        self._tls.close()
        # Let go of: the two hold each other.
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(error)
