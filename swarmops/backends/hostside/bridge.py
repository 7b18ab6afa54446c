"""Join stdin and stdout to a unix socket, so that SSH carries the Docker API.

Sent by ``fleet.ssh``. Says one line first: ``+`` when connected, else the reason.
"""

from __future__ import annotations

import os
import select
import socket
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

_CHUNK = 1 << 16


def _to_socket(payload: BinaryIO, sock: socket.socket) -> None:
    try:
        while part := payload.read1(_CHUNK):  # type: ignore[attr-defined]  # it is buffered
            sock.sendall(part)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        # The socket's side ended first: the other direction sees that and ends the program.
        return


def _to_stdout(sock: socket.socket) -> None:
    """Copy until the socket ends, or the operator hangs up while it has nothing to say."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    poll.register(1, 0)
    while all(fd != 1 for fd, _ in poll.poll()):
        part = sock.recv(_CHUNK)
        if not part:
            return
        view = memoryview(part)
        while view:
            view = view[os.write(1, view) :]


def main(args: dict[str, Any], payload: BinaryIO) -> None:
    """``args``: path."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(args["path"])
    except OSError as error:
        os.write(1, f"{error.strerror or error}\n".encode())
        return
    os.write(1, b"+\n")
    threading.Thread(target=_to_socket, args=(payload, sock), daemon=True).start()
    try:
        _to_stdout(sock)
    finally:
        os._exit(0)  # the other direction's thread waits for input that no longer matters
