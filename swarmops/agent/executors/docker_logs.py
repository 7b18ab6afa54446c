"""A container's output, read from the engine as it keeps it: one connection for each reader.

Called by the container executors. No thread waits for output, so readers that follow a silent
container cost a connection and nothing else. Both streams come over the one connection, in the
order in which the engine got them, each piece with its stream and its time; with a terminal there
is only one stream, without either.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from typing import Literal

import msgspec
from msgspec.structs import replace

from swarmops.agent.executors.base import LogLine, LogRequest, TaskError
from swarmops.agent.executors.docker_asks import Answer, opened
from swarmops.agent.executors.docker_engine import NotFoundError

Stream = Literal["stdout", "stderr"]
LINE_BYTES_MAX = 1024 * 1024
"""Longer lines are given in pieces of about so much."""
_HEAD_BYTES = 8
_STDERR = 2
_OK = 200
_NOT_FOUND = 404
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")


class ContainerOutput(msgspec.Struct, frozen=True):
    """The output of one container.

    ``tails``: whether the engine can be trusted with a tail. Podman can't: it joins lines.
    """

    address: str
    name: str
    terminal: bool = False
    tails: bool = True

    async def read(self, request: LogRequest) -> AsyncIterator[LogLine]:
        """Iterate over the kept lines, oldest first, then follow what comes."""
        if self.tails or request.tail <= 0:
            async with contextlib.aclosing(self._lines(request)) as lines:
                async for line in lines:
                    yield line
            return
        count = 0
        last: deque[LogLine] = deque(maxlen=request.tail)
        async for line in self._lines(replace(request, tail=-1, follow=False)):
            count += 1
            last.append(line)
        for line in last:
            yield line
        if request.follow:
            async with contextlib.aclosing(self._lines(replace(request, tail=-1))) as lines:
                async for line in lines:
                    count -= 1
                    if count < 0:
                        yield line

    async def _lines(self, request: LogRequest) -> AsyncGenerator[LogLine, None]:
        query = (
            f"stdout={request.stdout:d}&stderr={request.stderr:d}&follow={request.follow:d}"
            f"&timestamps=1&tail={'all' if request.tail < 0 else request.tail}"
        )
        async with opened(self.address, f"/containers/{self.name}/logs?{query}") as answer:
            if answer.status != _OK:
                raise await _refusal(answer)
            pieces = _terminal(answer) if self.terminal else _framed(answer)
            async for line in _whole(pieces):
                yield line


async def _refusal(answer: Answer) -> TaskError:
    text = (await answer.body.read()).decode(errors="replace")
    with contextlib.suppress(ValueError, TypeError, KeyError):
        text = json.loads(text)["message"]
    return NotFoundError(text) if answer.status == _NOT_FOUND else TaskError(text)


async def _framed(answer: Answer) -> AsyncIterator[tuple[Stream, bytes]]:
    """Give the engine's frames: a line with its newline, or a part of a long one."""
    while head := await answer.read(_HEAD_BYTES):
        data = await answer.read(int.from_bytes(head[4:], "big"))
        if not data:  # the engine went in the middle of it
            return
        yield ("stderr" if head[0] == _STDERR else "stdout"), data


async def _terminal(answer: Answer) -> AsyncIterator[tuple[Stream, bytes]]:
    """Give the lines of a terminal's output, whose newlines have a carriage return before."""
    while data := await answer.line():
        yield "stdout", data.replace(b"\r\n", b"\n")


async def _whole(pieces: AsyncIterator[tuple[Stream, bytes]]) -> AsyncIterator[LogLine]:
    """Put the pieces of lines together; each has the time of its first."""
    begun: dict[Stream, LogLine] = {}
    async for stream, piece in pieces:
        before = begun.pop(stream, None)
        at, text = _stamped(piece)
        if before is None and at is None:
            raise TaskError(f"the engine gave output without its time: {piece[:40]!r}")
        first = before or LogLine(stream, b"", at)
        line = replace(first, data=first.data + text.removesuffix(b"\n"))
        if text.endswith(b"\n") or len(line.data) >= LINE_BYTES_MAX:
            yield line
        else:
            begun[stream] = line
    for line in begun.values():
        yield line


def _stamped(piece: bytes) -> tuple[datetime | None, bytes]:
    """Take the engine's time, cut to microseconds, from before a piece of output, if it is there.

    The rest of a terminal's long line has none.
    """
    stamp, _, text = piece.partition(b" ")
    found = _STAMP.fullmatch(stamp)
    if found is None:
        return None, piece
    seconds, fraction, zone = (part.decode() for part in found.groups(b"0"))
    return datetime.fromisoformat(f"{seconds}.{fraction[:6].ljust(6, '0')}{zone}"), text
