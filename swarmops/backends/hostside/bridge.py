"""Join stdin and stdout to a unix socket, so that SSH carries the Docker API.

Sent by ``fleet.ssh``. Says one line first: ``+`` when connected, else the reason.
"""

from __future__ import annotations

import os
import socket
import threading
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
        while part := sock.recv(_CHUNK):
            view = memoryview(part)
            while view:
                view = view[os.write(1, view) :]
    except OSError:
        # The operator hung up.
        os._exit(0)
    os._exit(0)
