"""``env_file`` and ``environment`` of Compose services: files of variables, values of the shell.

Called by the readers of stacks and playbooks. Reads the files that ``env_file`` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from swarmops.errors import InputError
from swarmops.fleet.compose_merge import pairs
from swarmops.fleet.document import Document
from swarmops.fleet.dotenv import parse_env
from swarmops.fleet.entry import Entry


def with_env_files(document: Document, folder: Path, variables: Mapping[str, str]) -> Document:
    """Return the document with the variables of each service's ``env_file`` in ``environment``.

    What ``environment`` says is stronger, whichever of several merged files says it. Raises
    InputError.
    """
    value = document.value
    if not isinstance(value, dict) or not isinstance(value.get("services"), dict):
        return document
    services = {
        name: _with_env_files(body, folder, document.where(("services", name)), variables)
        for name, body in value["services"].items()
    }
    return replace(document, value={**value, "services": services})


def _with_env_files(body: Any, folder: Path, where: str, variables: Mapping[str, str]) -> Any:
    if not isinstance(body, dict) or body.get("env_file") is None:
        return body
    said = body["env_file"]
    found: dict[str, Any] = {}
    for item in said if isinstance(said, list) else [said]:
        name = item.get("path") if isinstance(item, dict) else item
        required = item.get("required", True) if isinstance(item, dict) else True
        path = folder / str(name)
        if required or path.exists():
            found |= read_env_file(path, where, variables)
    rest = {key: item for key, item in body.items() if key != "env_file"}
    return {**rest, "environment": {**found, **pairs(body.get("environment"))}}


def with_values(document: Document, variables: Mapping[str, str]) -> Document:
    """Return the document with the values of variables that services name without one.

    Those that have none among ``variables`` stay as they are.
    """
    value = document.value
    if not isinstance(value, dict) or not isinstance(value.get("services"), dict):
        return document
    services = {}
    for name, body in value["services"].items():
        services[name] = body
        if isinstance(body, dict) and body.get("environment"):
            found = pairs(body["environment"])
            known = {key: variables.get(key) if found[key] is None else found[key] for key in found}
            services[name] = {**body, "environment": known}
    return replace(document, value={**value, "services": services})


def passed_on(document: Document, variables: Mapping[str, str]) -> tuple[Document, tuple[str, ...]]:
    """Return the document with the values of variables that services name without one.

    The second value are warnings: a variable that has no value here is left out.
    """
    document = with_values(document, variables)
    value = document.value
    if not isinstance(value, dict) or not isinstance(value.get("services"), dict):
        return document, ()
    services, warnings = dict(value["services"]), []
    for name, body in services.items():
        if not isinstance(body, dict) or not body.get("environment"):
            continue
        found = pairs(body["environment"])
        where = document.where(("services", name, "environment"))
        warnings += [
            f"{where}: services.{name}.environment: {key} is not set here and left out:"
            f" set it, or write '{key}='"
            for key, item in found.items()
            if item is None
        ]
        known = {key: item for key, item in found.items() if item is not None}
        services[name] = {**body, "environment": known}
    return replace(document, value={**value, "services": services}), tuple(warnings)


def project_variables(
    env_files: Entry | None, folder: Path, usual: Path, stronger: Mapping[str, str], where: str
) -> dict[str, str]:
    """Return what ``$NAME`` stands for in a project: ``stronger``, else what files say.

    Without ``env_files``, whose paths begin at ``folder``, it is the file ``usual`` if there is
    one, of which errors say ``where`` it was looked for. Raises InputError.
    """
    found: dict[str, str] = {}
    if env_files is not None:
        for text in env_files.strings():
            path = folder / Path(text).expanduser()
            found |= read_env_file(path, env_files.where, {**found, **stronger})
    elif usual.is_file():
        found = read_env_file(usual, where, stronger)
    return {**found, **stronger}


def read_env_file(path: Path, where: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a file, which ``dotenv`` explains. Raises InputError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{where}: the env_file {path} can't be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{where}: the env_file {path} is no UTF-8 text") from None
    try:
        return parse_env(text, str(path), variables)
    except ValueError as error:
        raise InputError(str(error)) from None
