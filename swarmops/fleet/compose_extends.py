"""``extends``: a Compose service that is laid over another one, of its own file or of another.

Called by the readers of stacks and playbooks. Reads the files that ``extends`` names.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from swarmops.errors import InputError
from swarmops.fleet.compose_merge import merged
from swarmops.fleet.document import Document
from swarmops.fleet.nearest import did_you_mean

_NOT_EXTENDED = frozenset(("depends_on", "links", "volumes_from"))
_DEPTH_MAX = 20


class _File(msgspec.Struct, frozen=True):
    """A Compose file with the folder that its paths begin at, and how others are read."""

    document: Document
    folder: Path
    read: Callable[[Path], Document]
    named: bool = False
    """Another file named it, so its paths are made absolute."""

    @property
    def services(self) -> dict[str, Any]:
        value = self.document.value
        found = value.get("services") if isinstance(value, dict) else None
        return found if isinstance(found, dict) else {}


def extended(document: Document, folder: Path, read: Callable[[Path], Document]) -> Document:
    """Return the document with every service's ``extends`` carried out.

    ``folder`` is what relative paths begin at, ``read`` reads another file. Raises InputError.
    """
    file = _File(document, folder, read)
    if not file.services:
        return document
    services = {name: _service(file, name, body, 0) for name, body in file.services.items()}
    return replace(document, value={**document.value, "services": services})


def _service(file: _File, name: str, body: Any, depth: int) -> Any:
    path = ("services", name)
    where = file.document.where(path)
    if not isinstance(body, dict):
        return body
    own = {key: item for key, item in body.items() if key != "extends"}
    if file.named and own.get("env_file") is not None:
        own["env_file"] = absolute(own["env_file"], file.folder)
    if body.get("extends") is None:
        # At the top the tags stay for the file below, which this one is laid over.
        return merged(None, own, path, file.document.marks) if depth else own
    if depth > _DEPTH_MAX:
        raise InputError(f"{where}: extends goes in a circle: remove it from one of them")
    said = body["extends"]
    other = str(said.get("service") if isinstance(said, dict) else said)
    if isinstance(said, dict) and said.get("file"):
        path_of_file = file.folder / str(said["file"])
        file_of_other = _File(file.read(path_of_file), path_of_file.parent, file.read, named=True)
    else:
        file_of_other = file
    if other not in file_of_other.services:
        raise InputError(
            f"{where}: extends names no service '{other}':"
            f" {did_you_mean(other, file_of_other.services)}"
        )
    base = _service(file_of_other, other, file_of_other.services[other], depth + 1) or {}
    base = {key: item for key, item in base.items() if key not in _NOT_EXTENDED}
    return merged(base, own, path, file.document.marks)


def absolute(env_file: Any, folder: Path) -> list[Any]:
    """Return a service's ``env_file`` as a list, whose paths begin at no folder any more."""
    return [
        {**item, "path": str((folder / str(item.get("path"))).absolute())}
        if isinstance(item, dict)
        else str((folder / str(item)).absolute())
        for item in (env_file if isinstance(env_file, list) else [env_file])
    ]
