"""Ansible's INI inventory, read into the shape of a YAML one, each value with its line.

Called by ``inventory_sources``; pure. Host lines are ``name[1:3]:port key=value …``, sections are
``[group]``, ``[group:children]`` and ``[group:vars]``. Values are Python literals where they are
ones, else strings, as in Ansible.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Collection
from typing import Any, NoReturn

from swarmops.errors import InputError
from swarmops.fleet.document import Document, Path_
from swarmops.fleet.nearest import did_you_mean
from swarmops.fleet.vault import Secret

UNGROUPED = "ungrouped"
_SECTION = re.compile(r"\[(?P<name>[^:\]]+)(?::(?P<kind>[^\]]*))?\]\s*(?:[#;].*)?")
_KINDS = {"": "hosts", "hosts": "hosts", "children": "children", "vars": "vars"}


def parse_ini(text: str, name: str, *, secret: bool = False) -> Document:
    """Return the inventory as a document. Raises InputError with the line of what is wrong.

    ``secret``: a vault hid the file, so all its texts are secrets.
    """
    reader = _Reader(name, secret=secret)
    for number, line in enumerate(text.splitlines(), start=1):
        reader.line(number, line.strip())
    return Document(name=name, value=reader.value, lines=reader.lines)


def refuse_undefined(document: Document, defined: Collection[str]) -> None:
    """Raise InputError, as Ansible does, for a group that no section and no other file defines.

    Its variables, or the group's place among others, would be nobody's: mostly it is misspelt.
    """
    sections: dict[str, Any] = document.value
    own = {name for name, parts in sections.items() if parts.keys() & {"hosts", "children"}}
    known = own | {"all", UNGROUPED} | set(defined)
    for name, parts in sections.items():
        said: dict[str, Path_] = {
            child: (name, "children", child) for child in parts.get("children", ())
        }
        for group, path in {**said, **({} if name in own else {name: (name, "vars")})}.items():
            if group not in known:
                raise InputError(
                    f"{document.where(path)}: there is no group '{group}': write a section"
                    f" [{group}], or correct the name: {did_you_mean(group, known)}"
                )


class _Reader:
    def __init__(self, name: str, *, secret: bool) -> None:
        self.name = name
        self.secret = secret
        self.value: dict[str, Any] = {}
        self.lines: dict[Path_, int] = {(): 1}
        self.group, self.kind = UNGROUPED, "hosts"

    def line(self, number: int, text: str) -> None:
        if not text or text[0] in "#;":
            return
        if text.startswith("["):
            self.section(number, text)
        elif self.kind == "vars":
            self.variable(number, text)
        else:
            self.member(number, text)

    def section(self, number: int, text: str) -> None:
        found = _SECTION.fullmatch(text)
        kind = _KINDS.get((found["kind"] or "").strip()) if found else None
        if found is None or kind is None:
            self.fail(
                number,
                f"'{text}' is no section: write [group], [group:children] or [group:vars]",
            )
        self.group, self.kind = found["name"].strip(), kind
        self.body(number)

    def body(self, number: int) -> dict[str, Any]:
        """Return the present group's part that lines belong to."""
        group = self.value.setdefault(self.group, {})
        self.lines.setdefault((self.group,), number)
        part: dict[str, Any] = group.setdefault(self.kind, {})
        self.lines.setdefault((self.group, self.kind), number)
        return part

    def variable(self, number: int, text: str) -> None:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            self.fail(number, f"'{text}' sets no variable: write name=value")
        self.body(number)[key.strip()] = self.literal(value.strip())
        self.lines[self.group, self.kind, key.strip()] = number

    def member(self, number: int, text: str) -> None:
        try:
            words = shlex.split(text, comments=True)
        except ValueError as error:
            self.fail(number, f"{str(error).lower()}: close the quotes")
        body, name = self.body(number), words[0]
        self.lines.setdefault((self.group, self.kind, name), number)
        if self.kind == "children":
            if len(words) > 1:
                self.fail(number, f"a child group stands alone: move {words[1]} to [{name}:vars]")
            body.setdefault(name, {})
            return
        own = body.setdefault(name, {})
        for word in words[1:]:
            key, equals, value = word.partition("=")
            if not equals:
                self.fail(number, f"'{word}' is no variable: write name=value after the host")
            own[key] = self.literal(value)
            self.lines[self.group, self.kind, name, key] = number

    def literal(self, text: str) -> Any:
        value = literal(text)
        return Secret(value) if self.secret and isinstance(value, str) else value

    def fail(self, number: int, reason: str) -> NoReturn:
        raise InputError(f"{self.name}:{number}: {reason}")


def literal(text: str) -> Any:
    """Return the Python value that a text spells, else the text."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text  # TypeError: of {{ 8080 }}, a set in a set
    plain = isinstance(value, str | int | float | bool | list | dict) or value is None
    return value if plain else text
