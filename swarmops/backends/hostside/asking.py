"""Ask a node's socket for what a plan needs: HTTP by hand, for each import costs milliseconds.

Sent with ``facts``, which imports it. Reads only.
"""

from __future__ import annotations

import json
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ANSWER_BYTES_MAX = 64 << 20
_MANAGER_PATHS = ("swarm", "nodes", "services")


def _get(path: str, target: str, timeout_s: float) -> tuple[int, Any]:
    """HTTP/1.0 by hand: no chunks, no keep-alive, and no import of http.client."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(timeout_s)
        sock.connect(path)
        sock.sendall(f"GET {target} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
        answer = bytearray()
        while part := sock.recv(1 << 18):
            answer += part
            if len(answer) > _ANSWER_BYTES_MAX:
                raise OSError(f"the answer to GET {target} is larger than 64 MiB")
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    return int(head.split(None, 2)[1]), json.loads(body)


def ask(path: str, timeout_s: float, also: list[str]) -> dict[str, Any]:
    """Ask the node at a socket; what a later request doesn't get leaves what earlier ones told."""
    status, info = _get(path, "/info", timeout_s)
    if status != 200:  # noqa: PLR2004 - HTTP's OK
        return {"error": str(info.get("message", info))}
    api: dict[str, Any] = {"info": info}
    if (info.get("Swarm") or {}).get("ControlAvailable"):
        for name in (*_MANAGER_PATHS, *also):
            try:
                status, answer = _get(path, f"/{name}", timeout_s)
            except (OSError, ValueError) as error:
                api["error"] = f"GET /{name}: {words(error)}"
                break
            if status != 200:  # noqa: PLR2004 - HTTP's OK
                api["error"] = str(answer.get("message", answer))
                break
            api[name] = answer
    return api


def words(error: Exception) -> str:
    """Return what an error says, in a few words."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
