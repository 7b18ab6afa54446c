"""Send a large content to a host, going on where an earlier transfer was cut off.

Called by the native backend for bundles and by shells for files. What is there already is found by
content: the host says how far its parts go, with hashes, and only the rest is sent. Asking starts a
Python there, so it is done only where there is something to ask about.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from swarmops.backends import hostside
from swarmops.backends.base import Shell
from swarmops.errors import HostError

_CHUNK_BYTES = 1 << 18
_LARGE_BYTES = 4 << 20
"""Smaller files are sent anew: asking would take as long."""


class Part(msgspec.Struct, frozen=True):
    """What a cut transfer left: ``marks`` are (bytes, SHA-256 of the part up to there)."""

    path: str
    marks: tuple[tuple[int, str], ...] = ()


class Parts(msgspec.Struct, frozen=True):
    """Where a content's parts are on a host: files in ``folder`` that begin with ``prefix``."""

    folder: str
    prefix: str


def send(
    shell: Shell,
    program: str,
    args: Mapping[str, Any],
    content: bytes,
    parts: Parts,
    *,
    sha256: str | None = None,
    resume: bool,
    timeout_s: float = 60.0,
) -> dict[str, Any]:
    """Run a program of ``hostside`` that takes ``content``, and return its answer.

    ``resume``: ask first what there is of it, and leave that out. Raises HostError.
    """
    begun = _begun(shell, content, parts) if resume else None
    whole = {
        **args,
        "size": len(content),
        "sha256": sha256 or hashlib.sha256(content).hexdigest(),
        "folder": parts.folder,
        "prefix": parts.prefix,
        "begun": begun,
    }
    rest = _chunks(content, begun[1] if begun else 0)
    return hostside.call(shell, program, whole, rest, timeout_s=timeout_s)


def put(shell: Shell, content: bytes, path: str, mode: int) -> None:
    """Send one file; the host checks it and renames it into place. Raises HostError."""
    large = len(content) >= _LARGE_BYTES
    folder, slash, name = path.rpartition("/")
    parts = Parts((folder or slash) or ".", f".{name}.swarmops-part-")
    args = {"path": path, "mode": mode, "keep": large}
    send(shell, "put", args, content, parts, resume=large and _are_any(parts, shell))


def _are_any(parts: Parts, shell: Shell) -> bool:
    each = f"{shlex.quote(f'{parts.folder}/{parts.prefix}')}*"
    return shell.run(f'for part in {each}; do test -e "$part" && exit 0; done; exit 1').rc == 0


def _begun(shell: Shell, content: bytes, parts: Parts) -> tuple[str, int] | None:
    answer = hostside.call(shell, "parts", msgspec.structs.asdict(parts))
    try:
        found = msgspec.convert(answer.get("parts"), list[Part])
    except msgspec.ValidationError as error:
        raise HostError(shell.host, f"unexpected answer from the host: {error}") from error
    return longest(found, content)


def longest(parts: Sequence[Part], content: bytes) -> tuple[str, int] | None:
    """Return the part that is right for most bytes, and for how many; None if none is. Pure."""
    sizes = sorted({size for part in parts for size, _ in part.marks if size <= len(content)})
    digest, done, ours = hashlib.sha256(), 0, {}
    for size in sizes:
        digest.update(memoryview(content)[done:size])
        done, ours[size] = size, digest.hexdigest()
    right = [
        (size, part.path)
        for part in parts
        for size, theirs in part.marks
        if ours.get(size) == theirs
    ]
    if not right:
        return None
    size, path = max(right)
    return path, size


def _chunks(content: bytes, start: int) -> Iterator[bytes]:
    view = memoryview(content)
    for at in range(start, len(content), _CHUNK_BYTES):
        yield bytes(view[at : at + _CHUNK_BYTES])
