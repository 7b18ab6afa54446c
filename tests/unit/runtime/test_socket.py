"""The node's socket: its file's mode decides who may use it; and how many may, at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import stat
from pathlib import Path

import pytest
from aiohttp import web

from swarmops.backends import native
from swarmops.errors import SwarmopsError
from swarmops.runtime.node import FILES, _allow_files, _listen, _runner, _serve


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_owner_and_group_may_use_it_and_nobody_else(tmp_path: Path, umask: int):
    """Whatever the umask; what lay there before is replaced, a folder that is missing is made."""
    path = tmp_path / "run" / "node.sock"
    before = os.umask(umask)
    try:
        _listen(path).close()
        with _listen(path):
            assert stat.S_ISSOCK(path.stat().st_mode)
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            assert path.stat().st_uid == os.geteuid()
        assert os.umask(umask) == umask, "it is as it was"
    finally:
        os.umask(before)


def test_a_place_that_cannot_be_is_named(tmp_path: Path):
    """In one sentence."""
    path = tmp_path / ("x" * 120)
    with pytest.raises(SwarmopsError, match="can't serve the API there: AF_UNIX path too long"):
        _listen(path)


def test_without_a_unit_it_may_open_as_many_files_as_with_one():
    """As far as the machine lets it: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        _allow_files()
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert allowed == (FILES if hard == resource.RLIM_INFINITY else min(FILES, hard), hard)
    assert f"LimitNOFILE={FILES}\n" in Path(native.__file__).read_text()


async def test_who_connects_while_the_loop_is_busy_waits_and_is_answered(tmp_path: Path):
    """More at once than asyncio's own queue would take, as Docker Engine's does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    _allow_files()
    runner = await _runner(web.Application())
    listener = _listen(tmp_path / "node.sock")
    served = await _serve(runner, listener)
    loop = asyncio.get_running_loop()
    try:
        with contextlib.ExitStack() as stack:
            waiting = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(1500)]
            for connection in waiting:
                connection.setblocking(False)
                connection.connect(listener.getsockname())  # EAGAIN if the queue is full
                connection.send(b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n")
            for connection in waiting:
                answer = await asyncio.wait_for(loop.sock_recv(connection, 64), 30)
                assert answer.startswith(b"HTTP/1.1 404 ")
    finally:
        served.close()
        await runner.cleanup()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
