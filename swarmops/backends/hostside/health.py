"""Read what ``swarmops doctor`` judges beyond the facts: the node's certificate and its metrics.

Reads only. A file that can't be read and a socket that doesn't answer are left empty: why is in
the facts already.
"""

from __future__ import annotations

import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

_ANSWER_BYTES_MAX = 16 << 20


def _certificate(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:  # noqa: PTH123 - see facts.py
            return file.read()
    except OSError:
        return ""


def _metrics(path: str, wanted: list[str]) -> dict[str, float]:
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(path)
            sock.sendall(b"GET /metrics HTTP/1.0\r\nHost: docker\r\n\r\n")
            answer = bytearray()
            while (part := sock.recv(1 << 16)) and len(answer) < _ANSWER_BYTES_MAX:
                answer += part
    except OSError:
        return {}
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        return {}
    values = {}
    for line in body.decode(errors="replace").splitlines():
        name, _, value = line.partition(" ")
        if name in wanted:
            values[name] = float(value)
    return values


def main(args: dict[str, Any], _payload: BinaryIO) -> dict[str, Any]:
    """``args``: certificate (a path), socket, metrics (names)."""
    return {
        "certificate": _certificate(args["certificate"]),
        "metrics": _metrics(args["socket"], args["metrics"]),
    }
