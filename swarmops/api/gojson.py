"""JSON as Go reads it: field names in any case, null is the same as absent, errors in its words.

Clients rely on all three: docker-py sends ``{"mode": {"replicated": …}}`` and nulls for what it
doesn't set. Used by ``body`` and ``query``; pure, and guided by the model's own types alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
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


_GO_KINDS = {"int": "number", "float": "number", "str": "string"}
_GO_TYPES = {"int": "int64", "float": "float64", "str": "string"}
_WRONG_TYPE = re.compile(r"Expected `([^`]+)`, got `(\w+)`(?: - at `\$\.?(.*)`)?")
_OUT_OF_RANGE = re.compile(r"Expected `int` (>= 0|<= 4294967295) - at `\$\.(.*)`")
_STEP = re.compile(r"\[\.\.\.\]|\[\d+\]|[^.\[\]]+")
_WRONG_CHOICE = re.compile(r"Invalid enum value '(.*)' - at `\$\.(.*)`", re.DOTALL)
_CHOICES = {"RestartPolicy.Condition": "RestartCondition"}
"""What Docker calls a choice, by the end of its path."""


def decode(raw: bytes | str, kind: type) -> Any:
    """Decode JSON to the type. Raises ValueError with Go's or Docker's text."""
    return convert(parse(raw), kind)


def convert(value: Any, kind: type) -> Any:
    """Make the type of what was parsed. Raises ValueError with Go's or Docker's text."""
    respelled = _respelled(value, _shape_of(kind))
    try:
        return msgspec.convert(respelled, type=kind)
    except msgspec.ValidationError as error:
        problem = str(error)
        if match := _OUT_OF_RANGE.fullmatch(problem):
            raise ValueError(_out_of_range(match[1], match[2], kind, respelled)) from None
        raise ValueError(_wrong_type(problem, kind)) from None


def parse(raw: bytes | str) -> Any:
    """Decode JSON of any type. Raises ValueError with Go's text."""
    try:
        return msgspec.json.decode(raw)
    except RecursionError:
        raise ValueError("exceeded max depth") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(_malformed(raw, str(error))) from None


def kind_of(value: Any) -> str:
    """Return Go's word for the kind of a JSON value."""
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array"}
    return names.get(type(value), "object" if isinstance(value, dict) else "null")


def _wrong_type(problem: str, kind: type) -> str:
    choice = _WRONG_CHOICE.fullmatch(problem)
    if choice:
        path = choice[2]
        name = next((name for end, name in _CHOICES.items() if path.endswith(end)), path)
        return f'invalid {name}: "{choice[1]}"'
    match = _WRONG_TYPE.fullmatch(problem)
    if match is None:
        return problem
    wanted = match[1].removesuffix(" | null")
    got = _GO_KINDS.get(match[2], match[2])
    if not match[3]:
        return f"json: cannot unmarshal {got} into Go value of type swarm.{kind.__name__}"
    return (
        f"json: cannot unmarshal {got} into Go struct field {kind.__name__}.{match[3]} "
        f"of type {_GO_TYPES.get(wanted, wanted)}"
    )


def _out_of_range(bound: str, path: str, kind: type, value: Any) -> str:
    negative = bound == ">= 0"
    wrong = (n for n in _at(value, _STEP.findall(path)) if (n < 0 if negative else n >= 1 << 32))
    return (
        f"json: cannot unmarshal number {next(wrong)} into Go struct field {kind.__name__}.{path} "
        f"of type {'uint64' if negative else 'uint32'}"
    )


def _at(value: Any, path: Sequence[str]) -> Iterator[Any]:
    """Iterate over what is at a path: one value, or several where it goes through a map."""
    if not path:
        yield value
        return
    name, *below = path
    if name == "[...]":
        for item in value.values():
            yield from _at(item, below)
    else:
        yield from _at(value[int(name[1:-1])] if name.startswith("[") else value[name], below)


def _malformed(raw: bytes | str, problem: str) -> str:
    if "truncated" in problem:
        return "unexpected EOF"
    if "trailing" in problem:
        return "unexpected content after JSON"
    _, found, rest = problem.partition("(byte ")
    if not found:
        return problem
    data = raw.encode() if isinstance(raw, str) else raw
    place = int(rest.rstrip(")"))
    wrong = data[place : place + 1].decode("latin-1")
    return f"invalid character {wrong!r} looking for beginning of value"


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
