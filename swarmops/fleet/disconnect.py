"""Close one SSH connection, with the process that it may go through.

Used by ``connect`` and ``ssh``.
"""

from __future__ import annotations

import subprocess
import threading

import fabric
import paramiko

_PROXY_END_S = 2.0


def disconnect(connection: fabric.Connection) -> None:
    """Close the connection, open or half open; those that it goes through serve others too."""
    transport = connection.client.get_transport()
    connection.client.close()
    proxy = getattr(transport, "way", None)
    if isinstance(proxy, paramiko.ProxyCommand):
        _end(proxy.process, transport)


def _end(process: subprocess.Popen[bytes], reader: threading.Thread) -> None:
    """Wait for a proxy's process, which was told to end: the library leaves it and its pipes."""
    # The library's thread signals the process once more as it ends: it must still be there.
    reader.join(_PROXY_END_S)
    try:
        process.wait(_PROXY_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
