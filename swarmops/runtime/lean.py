"""Makes the daemon small and quick to start: leaves out what its libraries bring for others.

Used by ``__main__`` around its imports. A host has one daemon for its tasks' sake, and an apply
starts many at once, so both count: measured, it saves 5 MB and a third of the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import sys
from asyncio import sslproto
from collections.abc import Iterator

_TLS_BUFFER_BYTES = 32 * 1024
"""Of each connection; two of TLS's records."""
_ENVIRONMENT = {
    "SSL_CERT_FILE": os.devnull,
    "SSL_CERT_DIR": os.devnull,
    "FROZENLIST_NO_EXTENSIONS": "1",
}


@contextlib.contextmanager
def imports() -> Iterator[None]:
    """Import what a daemon needs in this context, and nothing of ours that reads these before.

    structlog draws tracebacks with rich if it can be imported; a daemon's log is lines of text.
    aiohttp reads the machine's certificate authorities at its import; nodes trust their swarm's
    root alone. frozenlist's compiled part would be the only one that needs C++'s library. asyncio
    takes a quarter of a megabyte for each TLS connection, and a manager may have thousands. The
    garbage collector has nothing to find among modules, which live for ever.
    """
    sslproto.SSLProtocol.max_size = _TLS_BUFFER_BYTES
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    without_rich = "rich" not in sys.modules
    gc.disable()
    os.environ.update(_ENVIRONMENT)
    if without_rich:
        # Python's documented way to make an import fail.
        sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if without_rich:
            del sys.modules["rich"]
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        gc.freeze()
        gc.enable()


async def loaded(name: str) -> None:
    """Import a module beside the event loop: a manager's take 0.4 s, while heartbeats are due."""
    await asyncio.to_thread(importlib.import_module, name)
