"""Where the daemon's log goes: a line that can't be written is lost, and nobody fails for it.

Without systemd the log lies on the disk of the state. When that is full, whoever says so must go
on, to do what it has to do once there is room again.
"""

from __future__ import annotations

import contextlib
import io
from typing import TextIO, cast


def lossy(stream: TextIO) -> TextIO:
    """Return the stream as one whose writers never hear of an error of its disk."""
    return cast("TextIO", _Lossy(stream))


class _Lossy(io.TextIOBase):
    """A stream whose writers never hear of an error of its disk."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str, /) -> int:
        """Write the text, or lose it."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what was written, or leave it to the next flush."""
        with contextlib.suppress(OSError):
            self._stream.flush()
