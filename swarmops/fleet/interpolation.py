"""Variables in Compose files: ``$VAR``, ``${VAR:-default}``, ``${VAR:?message}``, ``$$``.

Called by the reader of stacks; pure. The rules are Compose's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from swarmops.errors import InputError
from swarmops.fleet.document import Document, Path_

_NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")


def interpolated(document: Document, variables: Mapping[str, str]) -> Document:
    """Return the document with the variables in all its texts. Raises InputError."""

    def walk(value: Any, path: Path_) -> Any:
        if isinstance(value, dict):
            return {key: walk(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, str) and "$" in value:
            try:
                return substitute(value, variables)
            except ValueError as error:
                raise InputError(f"{document.where(path)}: {error}") from None
        return value

    return replace(document, value=walk(document.value, ()))


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """Return the text with its variables. Raises ValueError: bad syntax, or ``:?`` unfulfilled."""
    parts = []
    at = 0
    while (found := text.find("$", at)) >= 0:
        parts.append(text[at:found])
        following = text[found + 1 : found + 2]
        if following == "$":
            parts.append("$")
            at = found + 2
        elif following == "{":
            end = _closing(text, found + 2)
            parts.append(_braced(text[found + 2 : end], variables))
            at = end + 1
        elif match := _NAME.match(text, found + 1):
            parts.append(variables.get(match[0], ""))
            at = match.end()
        else:
            raise ValueError(f"'{text}' has a lone '$': write '$$' for a dollar sign")
    parts.append(text[at:])
    return "".join(parts)


def _closing(text: str, at: int) -> int:
    depth = 1
    for place in range(at, len(text)):
        if text.startswith("${", place):
            depth += 1
        elif text[place] == "}":
            depth -= 1
            if depth == 0:
                return place
    raise ValueError(f"'{text}' has a '${{' without its '}}'")


def _braced(inside: str, variables: Mapping[str, str]) -> str:
    match = _NAME.match(inside)
    if match is None:
        raise ValueError(f"'${{{inside}}}' names no variable")
    name, rest = match[0], inside[match.end() :]
    value = variables.get(name)
    if not rest:
        return value or ""
    operator = next((one for one in _OPERATORS if rest.startswith(one)), None)
    if operator is None:
        raise ValueError(f"'${{{inside}}}' is not Compose's syntax: use ${{{name}:-default}}")
    word = rest[len(operator) :]
    # With the colon an empty value counts as none.
    there = bool(value) if operator.startswith(":") else value is not None
    if operator.endswith("-"):
        return value or "" if there else substitute(word, variables)
    if operator.endswith("+"):
        return substitute(word, variables) if there else ""
    if not there:
        raise ValueError(
            f"the variable {name} is needed: {substitute(word, variables) or 'set it'}"
        )
    return value or ""
