"""A YAML file as plain values that remember their lines, so that every error can name one.

Called by the readers of inventories and playbooks. YAML 1.2 with two habits that Ansible and
Compose users share: ``0440`` is octal, and merge keys (``<<``) work. Dates stay strings. Never
builds anything but dicts, lists, strings, numbers, booleans and None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from swarmops.errors import InputError
from swarmops.fleet import vault

if TYPE_CHECKING:
    from ruamel.yaml.error import MarkedYAMLError

Path_ = tuple[str | int, ...]
"""Keys and indexes from the top of a document down to one value."""

_VALUES_MAX = 200_000
_TAG = "tag:yaml.org,2002:"


RESET, OVERRIDE = "!reset", "!override"
"""Compose's tags of a value that takes away, or replaces, the one that it is laid over."""


class Document(msgspec.Struct, frozen=True):
    """A file's value, and the line of each value in it (by path, the first line is 1)."""

    name: str
    value: Any
    lines: dict[Path_, int]
    marks: dict[Path_, str] = {}
    """Which values have one of Compose's two tags; merging carries them out."""
    files: dict[Path_, str] = {}
    """The file of each value, where several were laid over each other."""

    def where(self, path: Path_) -> str:
        """Return ``file:line`` of a value, of the nearest one around it if it has no line."""
        for length in range(len(path), -1, -1):
            line = self.lines.get(path[:length])
            if line is not None:
                return f"{self.files.get(path[:length], self.name)}:{line}"
        return self.name


def read_document(path: Path, what: str, *, layered: bool = False) -> Document:
    """Read a file; ``what`` it is ("inventory") appears in the errors. Raises InputError.

    A file that ansible-vault encrypted is decrypted; all its texts are secrets then. In one that
    is ``layered``, laid over others, ``!reset`` and ``!override`` mean what they do in Compose.
    """
    text = read_text(path, what)
    if text.startswith(vault.MARK):
        text = vault.reveal(text, str(path))
        return parse_document(text, str(path), secret=True, layered=layered)
    return parse_document(text, str(path), layered=layered)


def read_text(path: Path, what: str) -> str:
    """Return a file's text. Raises InputError."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such {what}: check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a directory: name the {what} file in it") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 text (byte {error.start}): save the {what} as UTF-8"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: can't read the {what}: {error.strerror}") from None


def parse_document(
    text: str, name: str, *, secret: bool = False, layered: bool = False
) -> Document:
    """Parse YAML text. Raises InputError with the line and column of a syntax error."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - not needed for --help
    from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415 - the same

    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        raise InputError(f"{name}{_syntax(error)}") from None
    except YAMLError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{name}: not valid YAML: {reason}: remove that character") from None
    except RecursionError:
        raise InputError(f"{name}: nested too deeply: make it flatter") from None
    if root is None:
        return Document(name=name, value=None, lines={(): 1})
    reader = _Reader(name, secret=secret, layered=layered)
    value = reader.read(root, ())
    return Document(name=name, value=value, lines=reader.lines, marks=reader.marks)


def _syntax(error: MarkedYAMLError) -> str:
    """Return ``:line:column: what is wrong: what to do``, of what was begun if the text ended."""
    cure = "check the indentation, the brackets and the quotes there"
    problem = error.problem or error.context
    mark = error.problem_mark or error.context_mark
    if "end of stream" in problem and error.context_mark:
        problem, mark = "what begins here never ends", error.context_mark
    elif "'\\t'" in problem:
        problem, cure = "a tab can't begin anything", "write spaces there"
    place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
    return f"{place}: not valid YAML: {problem}: {cure}"


class _Reader:
    """Turns the parser's nodes into plain values."""

    def __init__(self, name: str, *, secret: bool, layered: bool) -> None:
        self.name = name
        self.secret = secret
        self.layered = layered
        self.marks: dict[Path_, str] = {}
        self.lines: dict[Path_, int] = {}
        self.open: set[int] = set()
        self.merged_count = 0

    def read(self, node: Any, path: Path_) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        self.bound(node)
        if id(node) in self.open:
            self.fail(node, "an alias that holds itself: remove it")
        if self.layered and node.tag in (RESET, OVERRIDE):
            self.mark(node, path)
        elif node.id != "scalar" and not node.tag.startswith(_TAG):
            self.fail(node, f"the tag {node.tag} means nothing here: remove it")
        self.open.add(id(node))
        try:
            if node.id == "mapping":
                return self.mapping(node, path)
            if node.id == "sequence":
                return [self.read(item, (*path, i)) for i, item in enumerate(node.value)]
            return self.scalar(node)
        finally:
            self.open.discard(id(node))

    def bound(self, node: Any) -> None:
        """Refuse what a few aliases of aliases make of a small file."""
        if len(self.lines) + self.merged_count > _VALUES_MAX:
            self.fail(node, f"more than {_VALUES_MAX} values: split the file")

    def mark(self, node: Any, path: Path_) -> None:
        if not path or isinstance(path[-1], int):
            self.fail(node, f"{node.tag} stands before the value of a key: put it there")
        self.marks[path] = str(node.tag)

    def mapping(self, node: Any, path: Path_) -> dict[str, Any]:
        result: dict[str, Any] = {}
        seen: dict[str, int] = {}
        merges = []
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                merges.append(value_node)
                continue
            if key_node.id != "scalar":
                self.fail(key_node, "a key must be a plain word")
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in seen:
                self.fail(
                    key_node,
                    f"'{key}' is here twice (first in line {seen[key]}): keep one of them",
                )
            seen[key] = line
            self.lines[*path, key] = line
            result[key] = self.read(value_node, (*path, key))
        for key, value_node in self.merged(merges):
            if key not in result:
                result[key] = self.read(value_node, (*path, key))
        return result

    def merged(self, merges: list[Any]) -> Iterator[tuple[str, Any]]:
        """Yield the pairs of ``<<`` values; the first mapping that has a key wins.

        All count as values, also those of keys that are there already: they cost as much.
        """
        for node in merges:
            for source in node.value if node.id == "sequence" else [node]:
                self.merged_count += 1 + (len(source.value) if source.id == "mapping" else 0)
                self.bound(source)
                if source.id != "mapping":
                    self.fail(source, "'<<' merges mappings only")
                nested = []
                for key_node, value_node in source.value:
                    if key_node.tag == _TAG + "merge":
                        if id(source) in self.open:
                            self.fail(source, "an alias that holds itself: remove it")
                        nested.append(value_node)
                    else:
                        yield str(key_node.value), value_node
                self.open.add(id(source))
                yield from self.merged(nested)
                self.open.discard(id(source))

    def scalar(self, node: Any) -> Any:
        text = str(node.value)
        kind = str(node.tag).removeprefix(_TAG)
        if kind == "!vault":
            return vault.reveal(text, f"{self.name}:{node.start_mark.line + 1}")
        if self.layered and kind in (RESET, OVERRIDE):
            kind = "str"
        if kind not in _SCALARS:
            self.fail(node, f"the tag {node.tag} means nothing here: remove it")
        try:
            value = _SCALARS[kind](text)
        except ValueError:
            value = text
        return vault.Secret(value) if self.secret and isinstance(value, str) else value

    def fail(self, node: Any, reason: str) -> NoReturn:
        raise InputError(f"{self.name}:{node.start_mark.line + 1}: {reason}")


def _integer(text: str) -> int:
    """Read an integer as YAML 1.2 does, but ``0440`` as octal; ValueError if it is none."""
    digits = text.replace("_", "")
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    if digits.isdigit():
        return sign * int(digits, 8 if len(digits) > 1 and digits[0] == "0" else 10)
    return sign * int(digits, 0)


def _float(text: str) -> float:
    return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS: dict[str, Callable[[str], Any]] = {
    "!": str,
    "bool": lambda text: text.lower() == "true",
    "float": _float,
    "int": _integer,
    "null": lambda _: None,
    "str": str,
    "timestamp": str,
    "value": str,
}
