"""The node's socket: its file's mode decides who may use it; and how many may, at once."""

from __future__ import annotations

import os
import resource
import stat
from pathlib import Path

import pytest

from swarmops.backends import native
from swarmops.errors import SwarmopsError
from swarmops.runtime.node import FILES, _allow_files, _listen


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
