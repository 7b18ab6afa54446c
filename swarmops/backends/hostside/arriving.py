"""Content that arrives on stdin: hashed, and written to a part so that a cut transfer can go on.

Used by ``put`` and ``install``, which are sent with it. The beginning may come from the part of an
earlier transfer, as far as the sender found it right; the hash of the whole has the last word.
"""

# Importing pathlib costs milliseconds on every host of every apply.
# ruff: noqa: PTH104, PTH108, PTH118, PTH119, PTH123, PTH208

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

_BUFFER_BYTES = 1 << 18


class Arriving:
    """Reads ``size`` bytes: those of ``begun`` = [path, bytes] first, then ``payload``'s.

    ``args``: size, sha256, begun, folder, prefix. Everything goes to a part of its own, locked as
    long as it is written: two transfers never write to one file, and the hung rest of an earlier
    one disturbs nobody.
    """

    def __init__(self, args: dict[str, Any], payload: BinaryIO) -> None:
        self.left, self._size, self._sha256 = args["size"], args["size"], args["sha256"]
        self._folder, self._prefix, self._payload = args["folder"], args["prefix"], payload
        path: str = (args["begun"] or ["", 0])[0]
        self._begun_left: int = (args["begun"] or ["", 0])[1]
        self._begun = open(path, "rb") if path else None  # noqa: SIM115 - ``end`` closes it
        self._digest = hashlib.sha256()
        self._part, self._out = _new_part(self._folder, self._prefix)
        self._cut = False

    def read(self) -> bytes:
        """Return the next bytes; b'' at the end, also where it comes too early."""
        if self._begun is not None and self._begun_left:
            piece = self._begun.read(min(_BUFFER_BYTES, self._begun_left))
            self._begun_left = self._begun_left - len(piece) if piece else 0
            if not piece:  # it is shorter than it was: the hash of the whole won't be right
                return self.read()
        else:
            piece = self._payload.read(min(_BUFFER_BYTES, self.left))
            self._cut = not piece and self.left > 0
        self.left -= len(piece)
        self._digest.update(piece)
        view = memoryview(piece)
        while view:
            view = view[os.write(self._out, view) :]
        return piece

    @property
    def whole(self) -> bool:
        """Everything came, and it is what was sent."""
        return not self.left and self._digest.hexdigest() == self._sha256

    def finish(self, path: str, mode: int) -> None:
        """Make the part durable, and the file at ``path``."""
        os.fchmod(self._out, mode)
        os.fsync(self._out)
        os.rename(self._part, path)

    def end(self, *, keep: bool) -> None:
        """Remove the parts, this one's and earlier ones'; ``keep``: but for this one if cut off."""
        os.close(self._out)
        if self._begun is not None:
            self._begun.close()
        useful = keep and self._cut and self.left < self._size
        sweep(self._folder, self._prefix, os.path.basename(self._part) if useful else "")


def _new_part(folder: str, prefix: str) -> tuple[str, int]:
    while True:
        path = os.path.join(folder, f"{prefix}{os.urandom(4).hex()}")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return path, fd
        os.close(fd)  # somebody swept between the two calls


def sweep(folder: str, prefix: str, kept: str = "") -> None:
    """Remove the parts in a folder that nobody writes to."""
    for name in os.listdir(folder):
        if name.startswith(prefix) and name != kept:
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError), open(path, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)
