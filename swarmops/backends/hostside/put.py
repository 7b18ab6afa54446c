"""Write one file atomically: beside its place, checked, made durable, then renamed.

Sent by ``fleet.ssh`` and ``fleet.local``. A short or spoilt transfer and a full disk leave nothing.
"""

# Importing pathlib costs milliseconds on every host of every apply.
# ruff: noqa: PTH103, PTH104, PTH108, PTH118

from __future__ import annotations

import hashlib
import os
from typing import Any, BinaryIO


def main(args: dict[str, Any], payload: BinaryIO) -> dict[str, Any]:
    """``args``: path, mode, size, sha256; the content follows on ``payload``."""
    path, left = args["path"], args["size"]
    folder, name = os.path.split(path)
    os.makedirs(folder or ".", exist_ok=True)
    temporary = os.path.join(folder, f".{name}.swarmops-{os.getpid()}")
    digest = hashlib.sha256()
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb", 0) as out:
            while left and (part := payload.read(min(left, 1 << 18))):
                left -= len(part)
                digest.update(part)
                view = memoryview(part)
                while view:
                    view = view[out.write(view) :]
            if left or digest.hexdigest() != args["sha256"]:
                return {"error": "the transfer broke off", "path": path}
            os.fchmod(out.fileno(), args["mode"])
            os.fsync(out.fileno())
        os.rename(temporary, path)
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)
    return {"sha256": digest.hexdigest()}
