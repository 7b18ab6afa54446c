"""JSON as Go reads it: field names in any case, and null is the same as absent.

Clients rely on both: docker-py sends ``{"mode": {"replicated": …}}`` and nulls for what it doesn't
set. Used by ``swarmops.api.body``; pure, and guided by the model's own types alone.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect


class _Shape(NamedTuple):
    """What a type says about names below it; nothing for scalars and free-form values."""

    fields: dict[str, tuple[str, _Shape]] | None = None
    """Of an object: each field's spelling and shape, by its name in lower case."""
    items: _Shape | None = None
    """Of an array, or of a map's values."""


_PLAIN = _Shape()


def decode(raw: bytes, kind: type) -> Any:
    """Decode JSON to the type. Raises msgspec's DecodeError or ValidationError, RecursionError."""
    return msgspec.convert(_respelled(msgspec.json.decode(raw), _shape_of(kind)), type=kind)


@cache
def _shape_of(kind: type) -> _Shape:
    return _shape(inspect.type_info(kind))


def _shape(info: inspect.Type) -> _Shape:
    if isinstance(info, inspect.UnionType):
        # An optional type: at most one of its members has names or items.
        return next((shape for shape in map(_shape, info.types) if shape != _PLAIN), _PLAIN)
    if isinstance(info, inspect.StructType):
        return _Shape(
            fields={
                field.encode_name.lower(): (field.encode_name, _shape(field.type))
                for field in info.fields
            }
        )
    if isinstance(info, inspect.ListType):
        return _Shape(items=_shape(info.item_type))
    if isinstance(info, inspect.DictType):
        return _Shape(items=_shape(info.value_type))
    return _PLAIN


def _respelled(value: Any, shape: _Shape) -> Any:
    if isinstance(value, list) and shape.items is not None:
        return [_respelled(item, shape.items) for item in value]
    if isinstance(value, dict) and shape.items is not None:
        return {key: _respelled(item, shape.items) for key, item in value.items()}
    if isinstance(value, dict) and shape.fields is not None:
        respelled: dict[str, Any] = {}
        for key, item in value.items():
            name, below = shape.fields.get(key.lower(), (key, _PLAIN))
            if item is not None:
                respelled[name] = _respelled(item, below)
        return respelled
    return value
