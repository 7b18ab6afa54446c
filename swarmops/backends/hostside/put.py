"""Write one file atomically: beside its place, checked, made durable, then renamed.

Sent by ``fleet.ssh`` and ``fleet.local``. A spoilt transfer and a full disk leave nothing; of a
large file a transfer that was cut off leaves the part that arrived, for the next one to go on.
"""

# Importing pathlib costs milliseconds on every host of every apply.
# ruff: noqa: PTH103

from __future__ import annotations

import os

from swarmops.backends.hostside.arriving import Arriving

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO


def main(args: dict[str, Any], payload: BinaryIO) -> dict[str, Any]:
    """``args``: path, mode, keep, and those of ``Arriving``; the content follows on ``payload``."""
    path = args["path"]
    os.makedirs(args["folder"], exist_ok=True)
    arriving = Arriving(args, payload)
    keep = False
    try:
        while arriving.read():
            pass
        keep = args["keep"]
        if not arriving.whole:
            return {"error": "the transfer broke off", "path": path}
        arriving.finish(path, args["mode"])
    finally:
        arriving.end(keep=keep)
    return {}
