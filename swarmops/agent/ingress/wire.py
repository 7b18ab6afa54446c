"""What the daemon and the proxy say to each other: one JSON object a line, over a unix socket.

The daemon sends whole tables; the proxy answers with the ports it can't listen on. The socket
lies in a folder of the node's; it is reached through the folder's descriptor, since the path may be
longer than a unix socket's may be.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from swarmops.agent.ingress.backends import Address, Key

SOCKET = "ingress.sock"
LINE_BYTES_MAX = 16 * 1024 * 1024
VERSION = "1"
"""Of the proxy. A daemon that finds one of another version lets it end, and starts its own."""


def table_line(table: Mapping[Key, Iterable[Address]]) -> bytes:
    """Return the line that says what to listen on, and what is behind it."""
    rows = [[*key, [list(address) for address in addresses]] for key, addresses in table.items()]
    return _line({"table": rows})


def read_table(rows: list[Any]) -> dict[Key, list[Address]]:
    """Read the table of a line."""
    return {
        (str(protocol), int(number)): [(str(host), int(port)) for host, port in addresses]
        for protocol, number, addresses in rows
    }


def hello_line() -> bytes:
    """Return the proxy's first line."""
    return _line({"version": VERSION})


def failures_line(failures: Mapping[Key, str]) -> bytes:
    """Return the line that says on which ports the proxy can't listen."""
    return _line({"failures": [[*key, why] for key, why in failures.items()]})


def read_failures(rows: list[Any]) -> dict[Key, str]:
    """Read the ports that fail."""
    return {(str(protocol), int(number)): str(why) for protocol, number, why in rows}


def end_line() -> bytes:
    """Return the line that ends the proxy once its connections have ended."""
    return _line({"end": True})


def read_line(line: bytes) -> dict[str, Any]:
    """Read any line. Raises ValueError."""
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one error for all that is no line
    return found


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"
