"""Our kind of SSH transport: fast ciphers, large windows, and no password where a key has changed.

Made by ``connect`` for each hop of each connection; ``host_keys`` tells it of a changed key.
"""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Sequence
from typing import Any

import paramiko

WINDOW_BYTES = 16 << 20
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
"""First choice: the processor does both halves of it at once, unlike paramiko's first choice."""


_KEEPALIVE = "keepalive@lag.net"
"""What paramiko asks, from the thread that reads, when nothing was sent for a while."""


class PasswordWithheldError(paramiko.AuthenticationException):
    """Only a password was left to log in with, and it was not sent; the text is the reason."""


class _Ears:
    """A socket, or what stands for one (a jump host's channel), that keeps whether it heard."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.heard = False

    def recv(self, size: int) -> bytes:
        """See ``socket.recv``."""
        data: bytes = self._sock.recv(size)
        self.heard = True
        return data

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
        self._ears = _Ears(sock)
        self._unheard = self._unheard_max = self._silence_s = 0
        self._asking: threading.Thread | None = None
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

    def stay(self, keepalive_s: int, unheard: int) -> None:
        """Show that the connection is there, and end it when the other end is not there any more.

        A machine that lost its power says no goodbye. As with ``ssh``, it is given up when it has
        said nothing for ``unheard`` periods after it was asked, also behind a jump host.
        """
        self._unheard_max = unheard
        self._silence_s = keepalive_s * (unheard + 1)
        if isinstance(self.way, socket.socket) and hasattr(socket, "TCP_USER_TIMEOUT"):
            # Nobody is asked while there is something to send: then the kernel notices it.
            wait_ms = 1000 * keepalive_s * unheard
            self.way.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, wait_ms)
        self.set_keepalive(keepalive_s)

    def global_request(self, kind: str, data: Any = None, wait: bool = True) -> Any:  # noqa: FBT001, FBT002 - paramiko's
        """Ask the other end; a keepalive is a question, too. Raises TimeoutError in its thread."""
        if kind != _KEEPALIVE:
            return super().global_request(kind, data, wait)
        # By questions, not by time: this program may have been stopped, or have slept.
        self._unheard = 0 if self._ears.heard else self._unheard + 1
        self._ears.heard = False
        if self._unheard >= self._unheard_max:
            raise TimeoutError(errno.ETIMEDOUT, f"it said nothing for {self._silence_s} s")
        if self._asking is None or not self._asking.is_alive():
            # paramiko waits for the answer, which the thread that calls this has to read.
            self._asking = threading.Thread(target=self._ask, daemon=True)
            self._asking.start()
        return None

    def _ask(self) -> None:
        try:
            super().global_request(_KEEPALIVE)
        except (OSError, EOFError, paramiko.SSHException):
            self.close()

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
