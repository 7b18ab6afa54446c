"""Our kind of SSH transport: fast ciphers, large windows, and no password where a key has changed.

Made by ``connect`` for each hop of each connection; ``host_keys`` tells it of a changed key.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import paramiko

WINDOW_BYTES = 16 << 20
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
"""First choice: the processor does both halves of it at once, unlike paramiko's first choice."""


class PasswordWithheldError(paramiko.AuthenticationException):
    """Only a password was left to log in with, and it was not sent; the text is the reason."""


class Transport(paramiko.Transport):
    """Like ``ssh``, it sends no password to a host whose key is not the known one.

    Who takes changed keys (host_key_checking: no) has let anybody in between, but not given him the
    password.
    """

    withheld = ""
    """Why no password is sent; empty: it may be."""

    def auth_password(self, *args: Any, **kwargs: Any) -> Any:
        """Log in with a password. Raises PasswordWithheldError."""
        self._refuse()
        return super().auth_password(*args, **kwargs)

    def auth_interactive(self, *args: Any, **kwargs: Any) -> Any:
        """Log in by answering questions. Raises PasswordWithheldError."""
        self._refuse()
        return super().auth_interactive(*args, **kwargs)

    def stay(self, keepalive_s: int, unheard_s: int) -> None:
        """Show that the connection is there, and end it when the other end is not there any more.

        A machine that lost its power says no goodbye: paramiko, which waits for no answer to its
        keepalives, would wait as long as the kernel, a quarter of an hour. Of hosts behind a jump
        host it is that one's kernel that waits.
        """
        if isinstance(self.sock, socket.socket) and hasattr(socket, "TCP_USER_TIMEOUT"):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * unheard_s)
        self.set_keepalive(keepalive_s)

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
