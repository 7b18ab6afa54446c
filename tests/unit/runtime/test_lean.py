"""The daemon leaves out what its libraries would bring, and leaves no trace of how."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from swarmops.runtime import lean

gone_on = threading.Event()

_DAEMON = """
import sys
from swarmops.runtime import lean
with lean.imports():
    import swarmops.runtime.node
names = {name.partition(".")[0] for name in sys.modules}
print(*sorted(names & {"rich", "docker", "requests", "cryptography", "pysyncobj"}))
import aiohttp.connector
print(len(aiohttp.connector._SSL_CONTEXT_VERIFIED.get_ca_certs()))
"""


def test_a_bare_daemon_imports_nothing_that_only_managers_or_engines_need() -> None:
    """Neither rich nor the SDK, certificates or Raft; and it trusts no authority of the machine."""
    done = subprocess.run(
        [sys.executable, "-c", _DAEMON], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["", "0"], done.stderr


_CONNECTION = """
import asyncio, ssl, tracemalloc
from asyncio.sslproto import SSLProtocol
from swarmops.runtime import lean
with lean.imports():
    pass
loop, context = asyncio.new_event_loop(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tracemalloc.start()
connection = SSLProtocol(loop, asyncio.Protocol(), context, None, server_side=True)
print(tracemalloc.get_traced_memory()[0])
"""


def test_a_tls_connection_takes_little_memory() -> None:
    """A manager has one for each agent of its, thousands of them."""
    done = subprocess.run(
        [sys.executable, "-c", _CONNECTION], capture_output=True, text=True, check=False
    )
    assert int(done.stdout) < 50_000, done.stderr


def test_nothing_of_it_is_left_when_the_imports_are_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tasks inherit the environment as it was; rich can be imported again; garbage is collected."""
    monkeypatch.setenv("SSL_CERT_FILE", "/somewhere/else.pem")
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    before = dict(os.environ)
    with contextlib.suppress(ImportError), lean.imports():
        assert os.environ["SSL_CERT_FILE"] == os.devnull
        assert not gc.isenabled()
        raise ImportError("nothing of it is left after a failure either")
    gc.unfreeze()
    assert dict(os.environ) == before
    assert sys.modules.get("rich", lean) is not None
    assert gc.isenabled()


async def test_what_managers_need_is_imported_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that only ends once the loop has gone on is loaded."""
    (tmp_path / "waits_for_the_loop.py").write_text(
        "from tests.unit.runtime import test_lean\nassert test_lean.gone_on.wait(60)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "tests.unit.runtime.test_lean", sys.modules[__name__])
    loading = asyncio.create_task(lean.loaded("waits_for_the_loop"))
    await asyncio.sleep(0)
    gone_on.set()
    await loading
    assert sys.modules.pop("waits_for_the_loop")
