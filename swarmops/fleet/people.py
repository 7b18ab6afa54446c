"""Access for people: a key made here, a certificate from the swarm, both as a Docker context.

Called by ``swarmops access``. The key is written to the context's file alone, and sent nowhere.
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from swarmops.client import Client
from swarmops.errors import InputError
from swarmops.model.access import AccessReply, AccessRequest, AccessRole, AccessState


class Granted(NamedTuple):
    """What a person needs, all PEM, and where to go with it."""

    key: str
    cert: str
    ca: str
    address: str


class PersonRow(msgspec.Struct, frozen=True):
    """One line of ``swarmops access ls``."""

    name: str
    role: str
    created: str
    expires: str


def grant(
    client: Client, name: str, role: AccessRole, *, lifetime_s: int, host: str = ""
) -> Granted:
    """Make a key and have it certified; ``host`` is what the person shall connect to.

    Raises ApiError with the manager's sentence.
    """
    from swarmops.pki.root import new_request  # noqa: PLC0415 - a large library, for this alone

    key, csr = new_request()
    reply = client.grant_access(AccessRequest(name=name, role=role, csr=csr, lifetime_s=lifetime_s))
    return Granted(key=key, cert=reply.cert, ca=reply.ca, address=_address(reply, host))


def _address(reply: AccessReply, host: str) -> str:
    if not host:
        return reply.addresses[0]
    bare = host.count(":") != 1 and not host.startswith("[") and ":" in host
    port = reply.addresses[0].rpartition(":")[2]
    if bare:
        return f"[{host}]:{port}"
    return host if ":" in host.rpartition("]")[2] else f"{host}:{port}"


def context_file(name: str, role: AccessRole, granted: Granted) -> bytes:
    """Return what ``docker context import NAME FILE`` reads: a tar archive."""
    meta = {
        "Name": name,
        "Metadata": {"Description": f"swarmops, {role.value}"},
        "Endpoints": {"docker": {"Host": f"tcp://{granted.address}", "SkipTLSVerify": False}},
    }
    files = {
        "meta.json": msgspec.json.encode(meta),
        "tls/docker/ca.pem": granted.ca.encode(),
        "tls/docker/cert.pem": granted.cert.encode(),
        "tls/docker/key.pem": granted.key.encode(),
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, data in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), 0o600
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


@contextlib.contextmanager
def new_secrets(paths: Sequence[Path]) -> Iterator[Callable[[Sequence[bytes]], None]]:
    """Open new files, each for its owner alone, and yield what writes them.

    Opened before anybody is let in: nobody shall have access whose key can't be kept. They are gone
    again if what they are for fails. Raises InputError if one is there, which may be somebody's
    only key, or can't be written.
    """
    files: list[BinaryIO] = []

    def write(contents: Sequence[bytes]) -> None:
        for path, file, content in zip(paths, files, contents, strict=True):
            try:
                file.write(content)
                file.close()
            except OSError as error:
                raise InputError(f"{path} can't be written: {error.strerror}") from error
        files.clear()  # they are whole: kept, whatever comes after

    try:
        files.extend(_new_secret(path) for path in paths)
        yield write
    except BaseException:
        for path, file in zip(paths, files, strict=False):
            with contextlib.suppress(OSError):
                file.close()
            path.unlink(missing_ok=True)
        raise


def _new_secret(path: Path) -> BinaryIO:
    if path.exists():
        raise InputError(f"{path} is there already: name another file with --output, or remove it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror}") from error


def rows(state: AccessState) -> list[PersonRow]:
    """Return the people as ``access ls`` shows them."""
    return [
        PersonRow(
            name=one.name,
            role=one.role.value,
            created=_day(one.created_at),
            expires=_day(one.expires_at),
        )
        for one in sorted(state.people, key=lambda one: one.name)
    ]


def _day(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
