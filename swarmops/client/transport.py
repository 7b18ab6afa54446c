"""HTTP over a socket that somebody else opens: a unix socket, or a channel through SSH.

Used by ``Client`` alone. One connection is kept and reused; a stale one is replaced, silently only
where asking twice does no harm. It never interprets a body.
"""

from __future__ import annotations

import http.client
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode

from swarmops.errors import SwarmopsError

_log = logging.getLogger(__name__)
TIMEOUT_S = 30.0
STALE_AFTER_S = 5.0
"""A kept connection that idled this long is not trusted with a request that must not be repeated:
servers close idle connections, and the request might or might not have been read."""

_PIECE_BYTES = 64 * 1024
_HARMLESS = frozenset({"GET", "HEAD"})


class SocketLike(Protocol):
    """What is needed of a connection; ``socket.socket`` and paramiko's ``Channel`` have it."""

    def sendall(self, data: Any, /) -> Any:
        """Send all bytes."""

    def makefile(self, mode: Any = ..., /) -> Any:
        """Return a buffered file to read from."""

    def settimeout(self, timeout_s: float | None, /) -> Any:
        """Bound each further send and receive."""

    def close(self) -> Any:
        """Close the connection."""


Connect = Callable[[], SocketLike]


class UnreachableError(SwarmopsError):
    """Nothing answered where the API should be; says whose API, and why."""


class Answer(NamedTuple):
    """One answer, read to its end. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def unix_socket(path: Path | str) -> Connect:
    """Return what connects to a unix socket of this machine."""

    def connect() -> SocketLike:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            raise
        return connection

    return connect


class _Connection(http.client.HTTPConnection):
    """``http.client`` over a given socket."""

    def __init__(self, connect: Connect, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._open = connect
        self._timeout_s = timeout_s

    def connect(self) -> None:
        opened: Any = self._open()
        opened.settimeout(self._timeout_s)
        self.sock = opened


class Transport:
    """Sends requests one after the other over one kept connection; safe to share by threads.

    ``name`` is what an error calls the other end: a host's name, or a socket's path.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        name: str,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._name = name
        self._timeout_s = timeout_s
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: _Connection | None = None
        self._used_at = 0.0

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request and read its answer.

        Raises ``UnreachableError`` if nobody is there, or the answer does not come in time.
        """
        target = f"{path}?{urlencode(query)}" if query else path
        sent = dict(headers or {}) | ({} if body is None else {"Content-Type": "application/json"})
        with self._lock:
            kept = self._usable(method)
            if kept is not None:
                try:
                    return self._exchange(kept, method, target, body, sent)
                except (OSError, EOFError, http.client.HTTPException) as error:
                    self._drop()
                    if method not in _HARMLESS or isinstance(error, TimeoutError):
                        raise self._unreachable(error) from error
            fresh = _Connection(self._connect, self._timeout_s)
            try:
                return self._exchange(fresh, method, target, body, sent)
            except (OSError, EOFError, http.client.HTTPException) as error:
                fresh.close()
                raise self._unreachable(error) from error

    def stream(
        self, path: str, query: Mapping[str, str], check: Callable[[Answer], None]
    ) -> Iterator[bytes]:
        """Get an answer that may never end, over a connection of its own, piece by piece.

        ``check`` sees the head, with the body of an answer that is no 200, and may raise. Raises
        ``UnreachableError`` if nobody is there, or the stream breaks.
        """
        connection = _Connection(self._connect, self._timeout_s)
        try:
            connection.request("GET", f"{path}?{urlencode(query)}")
            response = connection.getresponse()
            ok = response.status == http.client.OK
            headers = {name.lower(): value for name, value in response.getheaders()}
            check(Answer(response.status, headers, b"" if ok else response.read()))
            connection.sock.settimeout(None)  # the next line may be long in coming
            while piece := response.read1(_PIECE_BYTES):
                yield piece
        except (OSError, EOFError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def close(self) -> None:
        """Close the kept connection; a later request opens another."""
        with self._lock:
            self._drop()

    def _usable(self, method: str) -> _Connection | None:
        idle_s = self._clock() - self._used_at
        if self._kept is not None and method not in _HARMLESS and idle_s > STALE_AFTER_S:
            self._drop()
        return self._kept

    def _exchange(
        self,
        connection: _Connection,
        method: str,
        target: str,
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> Answer:
        before = self._clock()
        connection.request(method, target, body=body, headers=headers)
        response = connection.getresponse()
        answer = Answer(
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.read(),
        )
        self._kept = connection if connection.sock is not None else None
        self._used_at = self._clock()
        # Never a body or a header: specs hold environments, and secrets their content.
        seconds = self._used_at - before
        _log.debug("%s: %s %s: %d, %.3f s", self._name, method, target, answer.status, seconds)
        return answer

    def _drop(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _unreachable(self, error: Exception) -> UnreachableError:
        if isinstance(error, TimeoutError):
            reason = f"no answer within {self._timeout_s:g} s"
        elif isinstance(error, FileNotFoundError):
            reason = "there is no socket; is the node's runtime installed and running?"
        elif isinstance(error, ConnectionRefusedError):
            reason = "nothing listens on the socket; is the node's runtime running?"
        elif isinstance(error, PermissionError):
            reason = "permission denied; run as root, or as a member of the socket's group"
        else:
            reason = str(error) or type(error).__name__
        return UnreachableError(f"{self._name}: the API does not answer: {reason}")
