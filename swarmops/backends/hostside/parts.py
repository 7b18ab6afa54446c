"""Say what cut transfers left in a folder, by content: how far each part goes, with hashes.

Sent by ``backends.upload`` before it sends the rest. Reads only.
"""

# Importing pathlib costs milliseconds on every host of every apply.
# ruff: noqa: PTH118, PTH123, PTH208

from __future__ import annotations

import hashlib
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

_STEP_BYTES = 1 << 20


def _marks(path: str) -> list[list[Any]]:
    """Return [bytes, SHA-256 up to there] for each MiB and for the end."""
    digest, size, marks = hashlib.sha256(), 0, []
    with open(path, "rb") as file:
        while piece := file.read(_STEP_BYTES):
            digest.update(piece)
            size += len(piece)
            marks.append([size, digest.hexdigest()])
    return marks


def main(args: dict[str, Any], _payload: BinaryIO) -> dict[str, Any]:
    """``args``: folder, prefix."""
    try:
        names = [n for n in os.listdir(args["folder"]) if n.startswith(args["prefix"])]
    except FileNotFoundError:
        names = []
    paths = [os.path.join(args["folder"], name) for name in names]
    return {"parts": [{"path": path, "marks": _marks(path)} for path in paths]}
