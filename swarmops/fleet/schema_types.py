"""Words of the JSON Schemas: named types, and how to make mappings and lists of them.

Used by ``schema`` and ``schema_service``; pure. Values may be templates anywhere, so every named
type also takes a text with ``{{``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from swarmops.fleet import compose_fields
from swarmops.fleet.compose_fields import Table
from swarmops.fleet.compose_files import file_mode
from swarmops.fleet.entry import Entry

Schema = dict[str, Any]

_TEMPLATE: Schema = {"type": "string", "pattern": r"\{[{%]"}
_TEXT: Schema = {"type": ["string", "number"]}
_UNITS = r"^(0|((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d))+)$"


def _or_template(*schemas: Schema) -> Schema:
    return {"anyOf": [*schemas, _TEMPLATE]}


def _whole(least: int | None, most: int | None = None) -> Schema:
    bounds = {"minimum": least, "maximum": most}
    number = {"type": "integer"} | {k: v for k, v in bounds.items() if v is not None}
    return _or_template(number, {"type": "string", "pattern": r"^-?\d+$"})


DEFS: dict[str, Schema] = {
    "text": _TEXT,
    "boolean": _or_template({"type": "boolean"}, {"enum": ["yes", "no", "on", "off"]}),
    "integer": _whole(None),
    "count": _whole(0),
    "port": _whole(1, 65535),
    "number": _or_template({"type": "number"}, {"type": "string", "pattern": r"^[\d.]+$"}),
    "duration": _or_template({"type": "integer"}, {"type": "string", "pattern": _UNITS}),
    "size": _or_template(
        {"type": "integer"},
        {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*[kKmMgGtTpP]?([iI]?[bB])?\s*$"},
    ),
    "mode": {"type": ["string", "integer"]},
    "texts": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]},
    "pairs": {
        "anyOf": [
            {
                "type": "object",
                "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
            },
            {"type": "array", "items": {"type": "string"}},
        ]
    },
    "scalar": {"type": ["string", "number", "boolean", "null"]},
}
LABELS = {
    "text": "text",
    "boolean": "`true`, `false`",
    "integer": "whole number",
    "count": "whole number ≥ 0",
    "port": "port, 1 to 65535",
    "number": "number",
    "duration": "duration, `1m30s`",
    "size": "size, `64M`",
    "mode": 'file mode, `"0440"`',
    "texts": "text, or a list of texts",
    "pairs": "mapping, or a list of `KEY=value`",
    "scalar": "text, number, `true`, `false`",
}
"""What people call the named types."""
_OF_READER: Mapping[Callable[..., Any], str] = {
    Entry.name: "text",
    Entry.string: "text",
    Entry.boolean: "boolean",
    Entry.strings: "texts",
    Entry.integer: "integer",
    compose_fields.count: "count",
    compose_fields.duration: "duration",
    compose_fields.size: "size",
    compose_fields.pairs: "pairs",
    compose_fields.environment: "pairs",
    compose_fields.words: "texts",
    file_mode: "mode",
}


def ref(name: str) -> Schema:
    """Return a reference to a named type."""
    if name not in DEFS:
        raise KeyError(name)
    return {"$ref": f"#/$defs/{name}"}


def choice(*words: str) -> Schema:
    """Return one of some words."""
    return _or_template({"enum": list(words)})


def mapping(properties: Mapping[str, Schema], *, extra: str = "") -> Schema:
    """Return a mapping of these keys; null is an empty one."""
    found: Schema = {
        "type": ["object", "null"],
        "properties": dict(properties),
        "additionalProperties": False,
    }
    return found | ({"patternProperties": {extra: {}}} if extra else {})


def map_of(schema: Schema) -> Schema:
    """Return a mapping of any names to values of one kind."""
    return {"type": ["object", "null"], "additionalProperties": schema}


def list_of(schema: Schema) -> Schema:
    """Return a list, which may be empty (null) or a template."""
    return _or_template({"type": ["array", "null"], "items": schema})


def either(*schemas: Schema) -> Schema:
    """Return what one of some schemas takes."""
    return {"anyOf": list(schemas)}


def keys(names: Iterable[str], schema: Schema | None = None) -> dict[str, Schema]:
    """Return the same schema for several keys; without one anything is taken."""
    return {name: schema or {} for name in names}


def table(read_by: Table) -> dict[str, Schema]:
    """Return the keys of a reader's table; what its reader can't tell takes anything."""
    return {
        key: ref(_OF_READER[read]) if read in _OF_READER else {}
        for key, (_, read) in read_by.items()
    }
