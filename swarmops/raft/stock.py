"""PySyncObj, imported without the one thing that its import does to the whole process.

``pysyncobj.tcp_connection`` puts a function for Windows in the place of ``socket.inet_ntop``, on
every system; here it is put back. ``engine_core`` imports the engine from here and nowhere else.
"""

from __future__ import annotations

import functools
import socket

_inet_ntop = socket.inet_ntop

from pysyncobj import syncobj  # noqa: E402 - the function has to be kept first
from pysyncobj.node import Node as _StockNode  # noqa: E402
from pysyncobj.transport import Transport  # noqa: E402
from pysyncobj.version import VERSION  # noqa: E402

socket.inet_ntop = _inet_ntop


class _Node(str, _StockNode):
    """A member as the engine knows it: its raft id, compared and hashed as the text that it is.

    The engine looks nodes up several times for each message; its own class does so in Python.
    ``id`` is kept, not made anew from the text: its hash is then known too.
    """

    __slots__ = ("id",)
    __eq__ = str.__eq__
    __ne__ = str.__ne__
    __hash__ = str.__hash__
    id: str


@functools.lru_cache(maxsize=1024)
def Node(raft_id: str) -> _Node:  # noqa: N802 - it stands for the engine's class
    """Return the node of a member."""
    node = _Node(raft_id)
    object.__setattr__(node, "id", raft_id)
    return node


__all__ = ["VERSION", "Node", "Transport", "syncobj"]
