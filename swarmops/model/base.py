"""The base of all models: Docker's spelling on the wire, absent fields kept apart from null.

A field that a client did not send is ``UNSET`` and is not sent back, so a spec comes back as it was
sent. Unknown fields are ignored, wrong types refused with the field's path (msgspec does both).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

_ACRONYMS = {
    "ca": "CA",
    "cas": "CAs",
    "cpu": "CPU",
    "cpus": "CPUs",
    "dns": "DNS",
    "gid": "GID",
    "id": "ID",
    "ip": "IP",
    "ipam": "IPAM",
    "ips": "IPs",
    "ipv6": "IPv6",
    "os": "OS",
    "pid": "PID",
    "pids": "Pids",
    "tls": "TLS",
    "tty": "TTY",
    "uid": "UID",
    "vips": "VIPs",
}

ZERO_TIME = datetime.min.replace(tzinfo=UTC)
"""Docker's ``0001-01-01T00:00:00Z``: never."""

T = TypeVar("T")
Labels = dict[str, str]
Opt = UnsetType
"""``int | Opt``: the field may be absent; write it ``= UNSET``."""
Uint = Annotated[int, msgspec.Meta(ge=0)]
"""Where the engine has an unsigned number."""
Uint32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


def docker_name(name: str) -> str:
    """Docker's spelling of a field: ``nano_cpus`` → ``NanoCPUs``, ``tls_info`` → ``TLSInfo``."""
    return "".join(_ACRONYMS.get(part) or part.capitalize() for part in name.strip("_").split("_"))


class Model(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name, gc=False):
    """Immutable; change it with ``msgspec.structs.replace``.

    The collector doesn't look at models: they are trees, and a manager holds a million of them.
    """


def concealed(model: msgspec.Struct, *names: str) -> str:
    """Return a model's ``repr`` that shows nothing of these fields: for logs and tracebacks."""
    shown = (
        f"{name}=…" if name in names else f"{name}={getattr(model, name)!r}"
        for name in model.__struct_fields__
    )
    return f"{type(model).__name__}({', '.join(shown)})"


def given(value: T | UnsetType | None, default: T) -> T:
    """Return the value, or the default where the client left it out or sent null."""
    return default if value is UNSET or value is None else value


def to_builtins(obj: Any) -> Any:
    """Plain dicts and lists with Docker's names, times as RFC 3339 strings."""
    return msgspec.to_builtins(obj)
