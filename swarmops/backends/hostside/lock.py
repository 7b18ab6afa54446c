"""Read or swap the text of a lock file, one caller at a time.

Sent by ``fleet.keepers`` to the host that will be the first manager. The file is replaced whole, so
a killed program leaves the old text or the new; without a text there is no file.
"""

# Importing pathlib costs milliseconds on every host of every apply.
# ruff: noqa: PTH103, PTH105, PTH108, PTH110, PTH116, PTH120, PTH123

from __future__ import annotations

import fcntl
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO


def _locked(path: str) -> int:
    """Open the file and lock it; again if somebody replaced it meanwhile."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            if os.fstat(fd).st_ino == os.stat(path).st_ino:
                return fd
        except FileNotFoundError:
            pass
        os.close(fd)


def _replace(path: str, text: str) -> None:
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise OSError(error.errno, error.strerror, path) from None


def main(args: dict[str, Any], _payload: BinaryIO) -> dict[str, Any]:
    """``args``: path, swap; with ``swap`` also expected and text ('': remove it)."""
    path, swapped = args["path"], False
    if not args["swap"] and not os.path.exists(path):
        return {"text": "", "swapped": False, "now_s": time.time()}
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fd = _locked(path)
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if args["swap"] and text == args["expected"]:
            if args["text"]:
                _replace(path, args["text"])
            swapped = True
    except OSError:
        if not os.fstat(fd).st_size:
            os.unlink(path)
        raise
    else:
        if not (args["text"] if swapped else text):
            os.unlink(path)
    finally:
        os.close(fd)
    return {"text": text, "swapped": swapped, "now_s": time.time()}
