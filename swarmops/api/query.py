"""What stands behind the question mark: filters in both of their forms, booleans, versions.

Pure functions over a request's query; used by every list and update. They raise ``ApiError`` 400
with the texts of the Docker Engine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from aiohttp import web

from swarmops.api import errors, gojson
from swarmops.errors import ApiError

Filters = Mapping[str, tuple[str, ...]]
"""Each key's wanted values, at least one; an absent key means all."""

_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_VERSION_MAX = 2**64 - 1
_VERSION_DIGITS = 20


def filters_of(request: web.Request, accepted: frozenset[str]) -> Filters:
    """Read ``filters``: ``{"name":{"web":true}}`` or ``{"name":["web"]}``.

    Keys without values are left out. Raises ApiError 400 for a key that is not accepted.
    """
    text = request.query.get("filters", "")
    if not text:
        return {}
    parsed = _parsed(text)
    for key in parsed:
        if key not in accepted:
            raise errors.bad_request(f"Invalid filter '{key}'")
    return {key: tuple(values) for key, values in parsed.items() if values}


def _parsed(text: str) -> dict[str, list[str]]:
    """Return each key's values, in the order in which they were given."""
    try:
        parsed = gojson.parse(text)
    except ValueError as error:
        raise errors.bad_request(str(error)) from None
    if parsed is None:
        return {}
    if not isinstance(parsed, dict):
        raise _wrong_form(parsed, "map[string]map[string]bool")
    for values in parsed.values():
        if not isinstance(values, dict | list | None):
            raise _wrong_form(values, "map[string]bool")
        for value in values or ():
            if not isinstance(value, str):
                raise _wrong_form(value, "string")
    return {key: list(values or ()) for key, values in parsed.items()}


def _wrong_form(value: object, wanted: str) -> ApiError:
    kind = gojson.kind_of(value)
    return errors.bad_request(f"json: cannot unmarshal {kind} into Go value of type {wanted}")


def flag(request: web.Request, name: str, *, explain: bool = True) -> bool:
    """Read a boolean that is false when absent. Raises ApiError 400 for anything else."""
    text = request.query.get(name, "")
    if not text or text in _FALSE:
        return False
    if text in _TRUE:
        return True
    reason = f": strconv.ParseBool: parsing {json.dumps(text)}: invalid syntax" if explain else ""
    raise errors.bad_request(f"invalid value for {name}: {text}{reason}")


def truthy(request: web.Request, name: str) -> bool:
    """Read a boolean as the engine reads ``force``: anything that isn't a kind of no is yes."""
    return request.query.get(name, "").lower() not in ("", "0", "no", "false", "none")


def version_of(request: web.Request, kind: str) -> int:
    """Read the object's version that an update must name. Raises ApiError 400."""
    text = request.query.get("version", "")
    problem = ""
    if not text.isascii() or not text.isdigit():
        problem = "invalid syntax"
    elif len(text.lstrip("0")) > _VERSION_DIGITS or int(text.lstrip("0") or "0") > _VERSION_MAX:
        problem = "value out of range"
    if problem:
        raise errors.bad_request(
            f"invalid {kind} version '{text}': "
            f"strconv.ParseUint: parsing {json.dumps(text)}: {problem}"
        )
    return int(text.lstrip("0") or "0")


def begins(filters: Filters, key: str, text: str) -> bool:
    """Whether one of the key's values is a prefix of the text, or the key is not asked for."""
    values = filters.get(key)
    return values is None or text.startswith(values)


def equals(filters: Filters, key: str, text: str) -> bool:
    """Whether one of the key's values is the text, or the key is not asked for."""
    values = filters.get(key)
    return values is None or text in values


def labelled(filters: Filters, key: str, labels: Mapping[str, str]) -> bool:
    """Whether the labels have all of the key's values, each ``name`` or ``name=value``."""
    return all(_has_label(wanted, labels) for wanted in filters.get(key, ()))


def _has_label(wanted: str, labels: Mapping[str, str]) -> bool:
    name, _, value = wanted.partition("=")
    return name in labels and (not value or labels[name] == value)


def known(filters: Filters, key: str, values: Iterable[str], what: str) -> frozenset[str] | None:
    """Return the key's values in lower case, None if it is not asked for.

    Raises ApiError 500, as Docker does, for a value that is none of the known ones.
    """
    wanted = filters.get(key)
    if wanted is None:
        return None
    possible = frozenset(values)
    for value in wanted:
        if value.lower() not in possible:
            raise ApiError(500, f"Invalid {what} filter: '{value}'")
    return frozenset(value.lower() for value in wanted)
