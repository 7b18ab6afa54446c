"""One value of a user's file with its place: what the readers take a file apart with.

Each method returns the value in the type that the format wants, or raises InputError that names
the file, the line, the key and what was expected. Called by the readers of inventories, playbooks
and services; does no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, NoReturn, TypeVar

import msgspec

from swarmops.errors import InputError
from swarmops.fleet.document import Document, Path_
from swarmops.fleet.nearest import did_you_mean

T = TypeVar("T")
_YES = {"true", "yes", "on", "1", "y"}
_NO = {"false", "no", "off", "0", "n"}


class Entry(msgspec.Struct, frozen=True):
    """A value, the document it is from, and the path to it."""

    document: Document
    path: Path_
    value: Any

    @classmethod
    def top(cls, document: Document) -> Entry:
        """Return the whole document as an entry."""
        return cls(document, (), document.value)

    @property
    def where(self) -> str:
        """``file:line``."""
        return self.document.where(self.path)

    @property
    def key(self) -> str:
        """The path with dots: ``services.web.deploy``."""
        return ".".join(str(part) for part in self.path)

    def fail(self, reason: str) -> NoReturn:
        """Raise InputError: the place, then the reason."""
        raise InputError(f"{self.where}: {reason}")

    def expected(self, what: str) -> NoReturn:
        """Raise InputError: the value is not ``what`` it should be."""
        self.fail(f"{self.key or 'the file'} must be {what}, not {shown(self.value)}")

    def child(self, part: str | int) -> Entry:
        """Return the entry of one key or index."""
        return Entry(self.document, (*self.path, part), self.value[part])

    def get(self, key: str) -> Entry | None:
        """Return the entry of a key of a mapping, None when it is absent or null."""
        return self.child(key) if self.value.get(key) is not None else None

    def mapping(self) -> Iterator[tuple[str, Entry]]:
        """Yield the pairs of a mapping; null is an empty one."""
        if self.value is None:
            return
        if not isinstance(self.value, dict):
            self.expected("a mapping of names to values")
        for key in self.value:
            yield str(key), self.child(key)

    def section(self, known: Collection[str], what: str = "key") -> Entry:
        """Return this mapping after refusing keys that are not ``known``; null is an empty one."""
        for key, entry in self.mapping():
            if key not in known:
                entry.fail(f"unknown {what} '{entry.key}': {did_you_mean(key, known)}")
        return self if self.value is not None else Entry(self.document, self.path, {})

    def items(self) -> Iterator[Entry]:
        """Yield the entries of a list; null is an empty one."""
        if self.value is None:
            return
        if not isinstance(self.value, list):
            self.expected("a list")
        for index in range(len(self.value)):
            yield self.child(index)

    def string(self) -> str:
        """Return a string, or a number as it is written."""
        if isinstance(self.value, bool) or not isinstance(self.value, str | int | float):
            self.expected("a string")
        return str(self.value)

    def scalar(self) -> str:
        """Return any single value as Compose writes it into environments: true, 1, text."""
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        return "" if self.value is None else self.string()

    def name(self) -> str:
        """Return a string that is not empty."""
        return self.string() or self.expected("a name")

    def strings(self) -> list[str]:
        """Return a list of strings; a single string is a list of one."""
        if isinstance(self.value, str):
            return [self.value]
        return [item.string() for item in self.items()]

    def integer(self, least: int | None = None, most: int | None = None) -> int:
        """Return a whole number, also one written as a string."""
        value = self.value
        if isinstance(value, str):
            try:
                value = int(value)
            except ValueError:
                self.expected("a whole number")
        if isinstance(value, bool) or not isinstance(value, int):
            self.expected("a whole number")
        if least is not None and value < least:
            self.expected(f"at least {least}")
        if most is not None and value > most:
            self.expected(f"at most {most}")
        return value

    def number(self) -> float:
        """Return a number, also one written as a string."""
        try:
            if not isinstance(self.value, bool):
                return float(self.value)
        except (TypeError, ValueError):
            pass
        return self.expected("a number")

    def boolean(self) -> bool:
        """Return true or false, also written yes, no, on or off."""
        word = str(self.value).lower()
        if isinstance(self.value, bool | str | int) and word in _YES | _NO:
            return word in _YES
        return self.expected("true or false")

    def choice(self, *words: str) -> str:
        """Return one of some words."""
        if self.value not in words:
            near = did_you_mean(str(self.value), words) if isinstance(self.value, str) else ""
            suffix = f": {near}" if near.startswith("did") else ""
            self.fail(
                f"{self.key} must be {_one_of(words)}, not {shown(self.value)}{suffix}",
            )
        return str(self.value)

    def parsed(self, parse: Callable[[str], T], what: str) -> T:
        """Return ``parse(text)``; its ValueError becomes: must be ``what``."""
        try:
            return parse(self.string())
        except ValueError:
            return self.expected(what)


def _one_of(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def shown(value: Any) -> str:
    """Return a value as an error shows it."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return repr(text if len(text) <= 60 else text[:57] + "…")  # noqa: PLR2004 - a line's worth
