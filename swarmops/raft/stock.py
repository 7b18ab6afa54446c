"""PySyncObj, imported without the one thing that its import does to the whole process.

``pysyncobj.tcp_connection`` puts a function for Windows in the place of ``socket.inet_ntop``, on
every system; here it is put back. ``engine_core`` imports the engine from here and nowhere else.
"""

from __future__ import annotations

import socket

_inet_ntop = socket.inet_ntop

from pysyncobj import syncobj  # noqa: E402 - the function has to be kept first
from pysyncobj.node import Node  # noqa: E402
from pysyncobj.transport import Transport  # noqa: E402
from pysyncobj.version import VERSION  # noqa: E402

socket.inet_ntop = _inet_ntop

__all__ = ["VERSION", "Node", "Transport", "syncobj"]
