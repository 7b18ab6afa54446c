"""Request bodies: bounded, JSON, of the type that the model says, or refused with 400.

Used by every handler that takes a body. Nothing of a body is kept or logged here.
"""

from __future__ import annotations

from functools import cache
from typing import TypeVar

import msgspec
from aiohttp import web

from swarmops.api import gojson
from swarmops.api.errors import bad_request

BODY_BYTES_MAX = 4 * 1024 * 1024
"""Above what one Raft command may hold (1.5 MiB), so that its own refusal is heard."""

T = TypeVar("T")

_INT64_MAX = 2**63 - 1
_VALUES_MAX = 10_000
"""A specification has some hundred; each takes its part of the event loop's time, again and again.

Bytes don't bound it: a million and more of ``{}`` are small.
"""
_DEPTH_MAX = 100
"""Of what is kept as it came: it is packed again inside of more, for disks and for agents."""


async def read(request: web.Request, kind: type[T]) -> T:
    """Decode the body. Raises ApiError 400 for what is no JSON, or not of the wanted type."""
    refuse_other_types(request)
    raw = await request.read()
    if not raw.strip():
        raise bad_request("got EOF while reading request body")
    return decode(raw, kind)


def decode(raw: bytes, kind: type[T]) -> T:
    """Decode JSON as Go does. Raises ApiError 400."""
    try:
        parsed = gojson.parse(raw)
        _refuse_too_many(parsed)
        value: T = gojson.convert(parsed, kind)
    except ValueError as error:
        raise bad_request(str(error)) from None
    _refuse_what_cannot_be_kept(value, kind.__name__, _DEPTH_MAX)
    return value


def refuse_other_types(request: web.Request) -> None:
    """Raise ApiError 400 for a body that says it is something else than JSON.

    This also keeps web pages out, which can't send JSON to another origin unasked.
    """
    if "Content-Type" in request.headers and request.content_type != "application/json":
        raise bad_request(
            f"unsupported Content-Type header ({request.headers['Content-Type']}): "
            "must be 'application/json'"
        )


def _refuse_too_many(parsed: object) -> None:
    """Raise ApiError 400 for a body of more values than any specification has."""
    todo = [parsed]
    count = 0
    while todo:
        value = todo.pop()
        if not isinstance(value, dict | list):
            continue
        count += len(value)
        if count > _VALUES_MAX:
            raise bad_request(
                f"the request's body has more than {_VALUES_MAX} values: leave some out"
            )
        todo.extend(value.values() if isinstance(value, dict) else value)


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[tuple[str, str], ...]:
    """Return each field's name and its name in JSON; to ask for them takes long."""
    return tuple((field.name, field.encode_name) for field in msgspec.structs.fields(kind))


def _refuse_what_cannot_be_kept(value: object, path: str, depth: int) -> None:
    """Raise ApiError 400 for what neither Go nor the store's wire can hold.

    That is integers of more than 64 bits, and what is nested deeper than ``depth``.
    """
    if depth < 0:
        raise bad_request("exceeded max depth")
    if isinstance(value, int):
        if not -_INT64_MAX - 1 <= value <= _INT64_MAX:
            raise bad_request(
                f"json: cannot unmarshal number {value} into Go struct field {path} of type int64"
            )
    elif isinstance(value, msgspec.Struct):
        for field, name in _fields(type(value)):
            _refuse_what_cannot_be_kept(getattr(value, field), f"{path}.{name}", depth - 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_what_cannot_be_kept(item, f"{path}.{key}", depth - 1)
    elif isinstance(value, list):
        for item in value:
            _refuse_what_cannot_be_kept(item, f"{path}[...]", depth - 1)
