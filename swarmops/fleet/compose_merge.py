"""How Compose files become one: several files merged, ``extends`` and ``env_file`` resolved.

Called by the readers of stacks and playbooks. Reads the files that these name, nothing else. The
rules are Compose's: mappings are merged, lists are joined, commands are replaced.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from swarmops.errors import InputError
from swarmops.fleet.document import Document, read_document
from swarmops.fleet.nearest import did_you_mean

_REPLACED = frozenset(("command", "entrypoint", "test"))
_PAIRS = frozenset(("environment", "labels", "extra_hosts", "sysctls"))
_NOT_EXTENDED = frozenset(("depends_on", "links", "volumes_from"))
_DEPTH_MAX = 20


def merged(base: Any, over: Any, key: str = "") -> Any:
    """Return ``over`` laid over ``base``; ``key`` is what they are the values of."""
    if over is None or key in _REPLACED:
        return base if over is None else over
    if key in _PAIRS:
        return {**_pairs(base), **_pairs(over)}
    if isinstance(base, dict) and isinstance(over, dict):
        return {
            name: merged(base.get(name), over[name], str(name)) if name in over else base[name]
            for name in {**base, **over}
        }
    if isinstance(base, list) and isinstance(over, list):
        return [*base, *(item for item in over if item not in base)]
    return over


def _pairs(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    found = {}
    for item in value or []:
        name, separator, text = str(item).partition("=")
        found[name] = text if separator else None
    return found


def joined(documents: Iterable[Document]) -> Document:
    """Return several documents as one, the later over the earlier."""
    first, *others = documents
    name, value, lines = first.name, first.value, dict(first.lines)
    for other in others:
        name = f"{name}, {other.name}"
        value = merged(value, other.value)
        lines = {**lines, **other.lines}
    return Document(name=name, value=value, lines=lines)


def resolved(document: Document, folder: Path) -> Document:
    """Return the document with every service's ``extends`` and ``env_file`` carried out.

    ``folder`` is what relative paths begin at. Raises InputError.
    """
    value = document.value
    if not isinstance(value, dict) or not isinstance(value.get("services"), dict):
        return document
    services = {
        name: _with_env_files(
            _extended(body, value["services"], folder, document.where(("services", name)), 0),
            folder,
            document.where(("services", name)),
        )
        for name, body in value["services"].items()
    }
    return Document(name=document.name, value={**value, "services": services}, lines=document.lines)


def _extended(body: Any, services: dict[str, Any], folder: Path, where: str, depth: int) -> Any:
    if not isinstance(body, dict) or "extends" not in body:
        return body
    if depth > _DEPTH_MAX:
        raise InputError(f"{where}: extends goes in a circle: remove it from one of them")
    said = body["extends"]
    name = said.get("service") if isinstance(said, dict) else said
    if isinstance(said, dict) and said.get("file"):
        path = folder / str(said["file"])
        other = read_document(path, "Compose file").value
        services, folder = (other or {}).get("services") or {}, path.parent
    if name not in services:
        raise InputError(
            f"{where}: extends names no service '{name}': {did_you_mean(str(name), services)}"
        )
    base = _extended(services[name], services, folder, where, depth + 1)
    base = {key: item for key, item in (base or {}).items() if key not in _NOT_EXTENDED}
    own = {key: item for key, item in body.items() if key != "extends"}
    return merged(_with_env_files(base, folder, where), own)


def _with_env_files(body: Any, folder: Path, where: str) -> Any:
    if not isinstance(body, dict) or body.get("env_file") is None:
        return body
    said = body["env_file"]
    variables: dict[str, Any] = {}
    for item in said if isinstance(said, list) else [said]:
        name = item.get("path") if isinstance(item, dict) else item
        required = item.get("required", True) if isinstance(item, dict) else True
        path = folder / str(name)
        if required or path.exists():
            variables |= read_env_file(path, where)
    rest = {key: item for key, item in body.items() if key != "env_file"}
    return {**rest, "environment": {**variables, **_pairs(body.get("environment"))}}


def read_env_file(path: Path, where: str) -> dict[str, str]:
    """Return the variables of a file of ``NAME=value`` lines. Raises InputError.

    Comments, ``export``, and quotes around a value are understood.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise InputError(f"{where}: the env_file {path} can't be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{where}: the env_file {path} is no UTF-8 text") from None
    found = {}
    for number, line in enumerate(lines, 1):
        text = line.strip().removeprefix("export ").lstrip()
        if not text or text.startswith("#"):
            continue
        name, separator, value = text.partition("=")
        if not separator or not name.strip():
            raise InputError(f"{path}:{number}: '{line.strip()}' is not NAME=value: correct it")
        found[name.strip()] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        inside = value[1:-1]
        return inside.replace('\\"', '"').replace("\\n", "\n") if value[0] == '"' else inside
    return value.partition(" #")[0].rstrip()
