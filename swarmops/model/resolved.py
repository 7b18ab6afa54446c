"""Types looked up before threads need them: msgspec takes no lock when it first meets one.

It reads a Struct's annotations when it first decodes into it, and meanwhile what it has found so
far, half of it null, is what another thread gets that decodes into the same type: the process dies
of a segmentation fault (msgspec 0.22; the test shows it). So whoever starts threads that decode
calls ``resolve_types`` before.
"""

from __future__ import annotations

import contextlib

import msgspec

_known: set[type] = set()


def resolve_types() -> None:
    """Have msgspec look up every Struct that is imported; those of the last call cost nothing."""
    todo: list[type] = [msgspec.Struct]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if kind not in _known:
            _known.add(kind)
            # One that can't be looked up can't be decoded into either.
            with contextlib.suppress(TypeError, NameError):
                msgspec.json.Decoder(kind)
