"""Request bodies: bounded, JSON, of the type that the model says, or refused with 400.

Used by every handler that takes a body. Nothing of a body is kept or logged here.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from aiohttp import web

from swarmops.api import gojson
from swarmops.api.errors import bad_request

BODY_BYTES_MAX = 4 * 1024 * 1024
"""Above what one Raft command may hold (1.5 MiB), so that its own refusal is heard."""

T = TypeVar("T")

_INT64_MAX = 2**63 - 1


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
        value: T = gojson.decode(raw, kind)
    except ValueError as error:
        raise bad_request(str(error)) from None
    _refuse_big_integers(value, kind.__name__)
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


def _refuse_big_integers(value: object, path: str) -> None:
    """Raise ApiError 400 for integers that neither Go nor the store's wire can hold."""
    if isinstance(value, int):
        if not -_INT64_MAX - 1 <= value <= _INT64_MAX:
            raise bad_request(
                f"json: cannot unmarshal number {value} into Go struct field {path} of type int64"
            )
    elif isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            _refuse_big_integers(getattr(value, field.name), f"{path}.{field.encode_name}")
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_big_integers(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            _refuse_big_integers(item, f"{path}[...]")
