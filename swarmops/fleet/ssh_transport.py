"""Our kind of SSH transport: fast ciphers, large windows, and no password where a key has changed.

Made by ``connect`` for each hop of each connection; ``host_keys`` tells it of a changed key.
"""

from __future__ import annotations

import contextlib
import errno
import math
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import paramiko

WINDOW_BYTES = 16 << 20
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
"""First choice: the processor does both halves of it at once, unlike paramiko's first choice."""


_KEEPALIVE = "keepalive@openssh.com"
_ASKING_MAX = 2
_KERNELS_MS_MAX = 2**31 - 1


class PasswordWithheldError(paramiko.AuthenticationException):
    """Only a password was left to log in with, and it was not sent; the text is the reason."""


class SilentError(ConnectionAbortedError):
    """The other end said nothing for too long; ``strerror`` says for how long."""

    def __init__(self, seconds: float) -> None:
        super().__init__(errno.ECONNABORTED, f"it said nothing for {seconds:g} s")


class _Ears:
    """A socket, or what stands for one (a jump host's channel), that notes when it hears nothing.

    By periods, not by time: this program may have been stopped, or have slept.
    """

    def __init__(self, sock: Any, quiet: Callable[[int], None]) -> None:
        self._sock = sock
        self._quiet = quiet
        """Called with how many periods in a row were quiet; what it raises ends the connection."""
        self.period_s = math.inf
        self._periods = 0
        self._since_s = time.monotonic()

    def recv(self, size: int) -> bytes:
        """See ``socket.recv``: the library's thread calls it several times a second."""
        try:
            data: bytes = self._sock.recv(size)
        except TimeoutError:
            now_s = time.monotonic()
            if now_s - self._since_s >= self.period_s:
                self._since_s = now_s
                self._periods += 1
                self._quiet(self._periods)
            raise
        self._since_s = time.monotonic()
        self._periods = 0
        return data

    def close(self) -> None:
        """See ``socket.close``; of a jump host that was lost, too, nobody is told."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._sock.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class Transport(paramiko.Transport):
    """Like ``ssh``, it sends no password to a host whose key is not the known one.

    Who takes changed keys (host_key_checking: no) has let anybody in between, but not given him the
    password.
    """

    withheld = ""
    """Why no password is sent; empty: it may be."""

    def __init__(self, sock: Any, **kwargs: Any) -> None:
        self.way = sock
        """What it goes through: a socket, a jump host's channel, or a program."""
        self.lost = ""
        """Why it was given up."""
        self._quiet_max = 0
        self._asking: list[threading.Thread] = []
        self._ears = _Ears(sock, self._quiet)
        as_socket: Any = self._ears
        super().__init__(as_socket, **kwargs)

    def auth_password(self, *args: Any, **kwargs: Any) -> Any:
        """Log in with a password. Raises PasswordWithheldError."""
        self._refuse()
        return super().auth_password(*args, **kwargs)

    def auth_interactive(self, *args: Any, **kwargs: Any) -> Any:
        """Log in by answering questions. Raises PasswordWithheldError."""
        self._refuse()
        return super().auth_interactive(*args, **kwargs)

    def stay(self, period_s: float, quiet_max: int) -> None:
        """Ask the other end whether it is there, whenever it says nothing for a period.

        A machine that lost its power says no goodbye. As with ``ssh``, who has said nothing for so
        many periods is given up: requests fail with SilentError. Also behind a jump host, where the
        kernel's own tests end, and with an answer wanted, which the library's keepalives have not.
        """
        self._quiet_max = quiet_max
        self._ears.period_s = period_s
        wait_ms = 1000 * period_s * (quiet_max - 1)
        if isinstance(self.way, socket.socket) and hasattr(socket, "TCP_USER_TIMEOUT"):
            # The thread that reads may have to wait for one that can't send.
            most = min(wait_ms, _KERNELS_MS_MAX)
            self.way.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(most))

    def _quiet(self, periods: int) -> None:
        if periods >= self._quiet_max:
            error = SilentError(periods * self._ears.period_s)
            self.lost = str(error.strerror)
            raise error
        self._asking = [thread for thread in self._asking if thread.is_alive()]
        if self._asking and self.completion_event:
            self.completion_event.set()  # its answer was none that the library takes for one
        if len(self._asking) < _ASKING_MAX:
            # The library waits for the answer, which the thread that calls this has to read.
            thread = threading.Thread(target=self._ask, daemon=True)
            with contextlib.suppress(RuntimeError):  # no thread can be had: it isn't asked now
                thread.start()
                self._asking.append(thread)

    def _ask(self) -> None:
        try:
            self.global_request(_KEEPALIVE)
        except (OSError, EOFError, paramiko.ProxyCommandFailure):
            self.close()
        except paramiko.SSHException:
            pass  # a key exchange hangs: that is silence, too

    def _refuse(self) -> None:
        if self.withheld:
            raise PasswordWithheldError(self.withheld)


def make_transport(known_types: Sequence[str], sock: Any, **kwargs: Any) -> Transport:
    """Return a transport over a socket that asks for a key of the known types first."""
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = Transport(sock, default_window_size=WINDOW_BYTES, **kwargs)
    options = transport.get_security_options()
    available = tuple(options.ciphers)
    fast = [cipher for cipher in _CIPHERS if cipher in available]
    options.ciphers = [*fast, *(c for c in available if c not in fast)]
    names = {
        name
        for key_type in known_types
        for name in ((key_type,) if key_type != "ssh-rsa" else ("rsa-sha2-512", "rsa-sha2-256"))
    }
    offered = tuple(options.key_types)
    options.key_types = [n for n in offered if n in names] + [n for n in offered if n not in names]
    return transport
