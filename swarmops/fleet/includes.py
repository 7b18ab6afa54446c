"""Several playbooks as one: those named, a folder's, those that one includes; their variables.

Called by the playbook's reader. What includes is laid over what is included, a folder's files over
each other in the order of their names, those named in the order given: as Compose merges files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from swarmops.errors import InputError
from swarmops.fleet.compose_merge import joined
from swarmops.fleet.document import Document, read_document
from swarmops.fleet.entry import Entry

_DEPTH_MAX = 10


def read_playbooks(paths: Sequence[Path]) -> Document:
    """Return a playbook's files as one document, all of those that are folders. Raises InputError.

    Relative paths in it begin at the folder of the document's name.
    """
    if len(paths) == 1 and not paths[0].is_dir():
        return _read(paths[0])
    files = [file for path in paths for file in _files(path)]
    whole = joined(with_includes(_checked(_read(file))) for file in files)
    first = paths[0]
    return replace(whole, name=str(first / "*.yml") if first.is_dir() else str(first))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = [
        file
        for file in sorted(path.iterdir())
        if file.suffix in {".yml", ".yaml"} and not file.name.startswith(".")
    ]
    if not found:
        raise InputError(f"{path} has no playbook: put files into it whose names end in .yml")
    return found


def _checked(document: Document) -> Document:
    top = Entry.top(document)
    if document.value is not None and not isinstance(document.value, dict):
        top.expected("a playbook: a mapping with swarm, nodes and services")
    return document


def with_includes(document: Document, depth: int = 0) -> Document:
    """Return the document with what it includes, whose paths are relative to it. InputError."""
    if not isinstance(document.value, dict) or document.value.get("include") is None:
        return document
    entry = Entry.top(document).child("include")
    if depth > _DEPTH_MAX:
        entry.fail("include goes in a circle: remove it from one of them")
    folder = Path(document.name).parent
    below = [
        with_includes(_read(folder / Path(text).expanduser()), depth + 1)
        for text in entry.strings()
    ]
    own = {key: value for key, value in document.value.items() if key != "include"}
    whole = joined([*below, replace(document, value=own)])
    # Its tags also say what it takes away from files that it will be laid over.
    return replace(whole, name=document.name, marks=document.marks)


def _read(path: Path) -> Document:
    return read_document(path, "playbook", layered=True)


def variables_of(document: Document, section: str) -> tuple[Document, Mapping[str, Any]]:
    """Return the document without ``vars``, or ``defaults``, and these."""
    if not isinstance(document.value, dict) or document.value.get(section) is None:
        return document, {}
    entry = Entry.top(document).child(section)
    found = {name: item.value for name, item in entry.mapping()}
    rest = {key: value for key, value in document.value.items() if key != section}
    return replace(document, value=rest), found
