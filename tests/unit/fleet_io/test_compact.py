"""What is left out of a host's files is nothing that the host would load."""

from __future__ import annotations

import importlib
import importlib.util
import marshal
import struct
import subprocess
import sys
from pathlib import Path
from types import CodeType

import pytest

from swarmops.backends.compact import bytecode, loaded_part

SOURCE = b'''
"""The module's words."""
def answer():
    """Nobody reads this on a host."""
    return 42
'''


def test_a_library_without_its_symbols_still_works(tmp_path: Path) -> None:
    """The cut library is loaded by a fresh Python, and its code runs."""
    whole = Path(str(importlib.import_module("frozenlist._frozenlist").__file__))
    cut = tmp_path / "_frozenlist.so"
    cut.write_bytes(loaded_part(whole.read_bytes()))
    program = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("frozenlist._frozenlist", {str(cut)!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
made = module.FrozenList([1, 2])
made.freeze()
print(module.__file__, list(made))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout == f"{cut} [1, 2]\n", done.stderr
    assert cut.stat().st_size <= whole.stat().st_size


def test_what_stands_behind_the_segments_goes() -> None:
    """One segment of 100 bytes at 120, then 900 bytes of symbols: 220 bytes stay, no table."""
    header = bytearray(b"\x7fELF\x02\x01".ljust(64, b"\0"))
    struct.pack_into("<QQ", header, 32, 64, 220)
    struct.pack_into("<HHHHH", header, 54, 56, 1, 64, 9, 8)
    segment = bytearray(56)
    struct.pack_into("<Q", segment, 8, 120)
    struct.pack_into("<Q", segment, 32, 100)
    cut = loaded_part(bytes(header + segment) + b"c" * 100 + b"s" * 900)
    assert cut[120:] == b"c" * 100
    assert struct.unpack_from("<Q", cut, 40) == (0,)
    assert struct.unpack_from("<HH", cut, 60) == (0, 0)


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"\x7fELF\x01\x01" + b"x" * 99, b"MZ" * 99])
def test_other_files_stay_as_they_are(content: bytes) -> None:
    """A file that isn't understood is not touched."""
    assert loaded_part(content) == content


@pytest.mark.parametrize(("optimize", "words"), [(0, True), (2, False)])
def test_docstrings_are_left_out_where_nobody_reads_them(optimize: int, *, words: bool) -> None:
    """Level 2 drops them, level 0 keeps them; both are bytecode that Python takes unchecked."""
    compiled = bytecode("m.py", SOURCE, optimize=optimize)
    assert compiled.startswith(importlib.util.MAGIC_NUMBER + b"\1\0\0\0")
    code = marshal.loads(compiled[16:])
    assert isinstance(code, CodeType)
    scope: dict[str, object] = {}
    exec(code, scope)
    assert (scope.get("__doc__") is not None) is words
    assert scope["answer"]() == 42  # type: ignore[operator]
