"""``include`` and ``vars`` of a playbook: other playbooks beneath it, variables of its own.

Called by the playbook's reader. What includes is laid over what is included, as Compose merges
files: mappings are merged, lists are joined.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from swarmops.fleet.compose_merge import joined
from swarmops.fleet.document import Document, read_document
from swarmops.fleet.entry import Entry

_DEPTH_MAX = 10


def with_includes(document: Document, depth: int = 0) -> Document:
    """Return the document with what it includes, whose paths are relative to it. InputError."""
    if not isinstance(document.value, dict) or document.value.get("include") is None:
        return replace(joined([document]), name=document.name)
    entry = Entry.top(document).child("include")
    if depth > _DEPTH_MAX:
        entry.fail("include goes in a circle: remove it from one of them")
    folder = Path(document.name).parent
    below = [
        with_includes(_read(folder / Path(text).expanduser()), depth + 1)
        for text in entry.strings()
    ]
    own = {key: value for key, value in document.value.items() if key != "include"}
    return replace(joined([*below, replace(document, value=own)]), name=document.name)


def _read(path: Path) -> Document:
    return read_document(path, "playbook", layered=True)


def variables_of(document: Document) -> tuple[Document, Mapping[str, Any]]:
    """Return the document without ``vars``, and these."""
    if not isinstance(document.value, dict) or document.value.get("vars") is None:
        return document, {}
    entry = Entry.top(document).child("vars")
    found = {name: item.value for name, item in entry.mapping()}
    rest = {key: value for key, value in document.value.items() if key != "vars"}
    return replace(document, value=rest), found
