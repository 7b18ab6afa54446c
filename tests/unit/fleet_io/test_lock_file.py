"""The lock on the host that will be the first manager: swapped whole, or as it was."""

from __future__ import annotations

import contextlib
import io
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmops.backends.hostside import lock


def call(path: Path, **args: Any) -> dict[str, Any]:
    """Run the program as it runs on a host."""
    return lock.main({"path": str(path), "swap": "text" in args, **args}, io.BytesIO())


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file may have a byte: what a full disk answers, but for its name."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_only_who_read_what_is_there_may_swap(tmp_path: Path) -> None:
    """The file comes with the first text and goes with the empty one."""
    path = tmp_path / ".data.apply-lock"
    assert call(path, expected="", text="a")["swapped"]
    assert not call(path, expected="", text="b")["swapped"]
    assert call(path)["text"] == "a"
    assert call(path, expected="a", text="")["swapped"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", ["", "a"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, there: str) -> None:
    """No temporary file, no empty lock; the error names the file."""
    path = tmp_path / ".data.apply-lock"
    if there:
        call(path, expected="", text=there)
    with full_disk(), pytest.raises(OSError, match=r"apply-lock'$"):
        call(path, expected=there, text="b")
    assert [file.name for file in tmp_path.iterdir()] == ([path.name] if there else [])
    assert call(path)["text"] == there
