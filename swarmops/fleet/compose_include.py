"""A stack's Compose files, and those of the projects that they ``include``, as one document.

Called by the reader of stacks. Reads the files. As the Compose specification has it, each included
project has its own folder and variables, and what it defines is taken over as it is: a name that
both have, with something else behind it, is a mistake and not merged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from swarmops.fleet.compose_env import project_variables, with_values
from swarmops.fleet.compose_extends import absolute, extended
from swarmops.fleet.compose_merge import joined
from swarmops.fleet.document import Document, read_document
from swarmops.fleet.entry import Entry
from swarmops.fleet.interpolation import interpolated
from swarmops.fleet.materials import WORKING_DIR

_RESOURCES = ("services", "networks", "volumes", "secrets", "configs")
_SECTIONS = ("version", "name", *_RESOURCES, "include")
_KEYS = ("path", "project_directory", "env_file")
_REMOTE = re.compile(r"[\w+.-]+://|[\w.-]+@[\w.-]+:|git(hub|lab)\.com/")
"""What Compose fetches: ``oci://…``, ``https://….git``, ``git@host:…``, ``github.com/…``."""


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """Compose files that are laid over each other, the later over the earlier."""

    paths: list[Path]
    folder: Path
    """What relative paths in all of them begin at."""
    variables: Mapping[str, str]
    """What ``$NAME`` stands for in them."""


def read_project(project: Project, above: tuple[Path, ...] = ()) -> Document:
    """Return a project's files, with what each of them includes. Raises InputError.

    ``above`` are the files whose ``include`` led here.
    """

    def read(path: Path) -> Document:
        document = read_document(path, "Compose file", layered=True)
        return interpolated(document, project.variables)

    def whole(path: Path) -> Document:
        document = read(path)
        top = Entry.top(document)
        for key, _ in top.mapping():
            if key not in _SECTIONS and not key.startswith("x-"):
                top.section(_SECTIONS)
        document = extended(document, project.folder, read)
        return _with_includes(document, project, (*above, path.resolve()))

    return joined(map(whole, project.paths))


def _with_includes(document: Document, project: Project, above: tuple[Path, ...]) -> Document:
    if not document.value or document.value.get("include") is None:
        return document
    for item in Entry.top(document).child("include").items():
        included = _included(item, project)
        for path in included.paths:
            if path.resolve() in above:
                item.fail(f"include goes in a circle, back to {path}: remove it from one of them")
        found = with_values(read_project(included, above), included.variables)
        document = _taken_over(_with_own_paths(found, included.folder), document, item)
    own = {key: value for key, value in document.value.items() if key != "include"}
    return replace(document, value=own)


def _included(item: Entry, project: Project) -> Project:
    """Return what one entry of ``include`` names, short or long."""
    named, said_folder, env_files = item, None, None
    if isinstance(item.value, dict):
        item.section(_KEYS)
        named = item.get("path") or item.fail(f"{item.key} needs path: that of a Compose file")
        said_folder, env_files = item.get("project_directory"), item.get("env_file")
    paths = [project.folder / Path(text).expanduser() for text in named.strings()]
    if not paths:
        named.expected("the path of a Compose file, or a list of them")
    for text, path in zip(named.strings(), paths, strict=True):
        if not path.is_file():
            if _REMOTE.match(text):
                named.fail(
                    f"include names {text}, and projects elsewhere are not fetched: get a copy,"
                    " and name its Compose file here"
                )
            named.fail(f"include names {path}, and there is no such file: correct the path")
    folder = paths[0].parent
    if said_folder is not None:
        folder = project.folder / Path(said_folder.name()).expanduser()
        if not folder.is_dir():
            said_folder.fail(f"{said_folder.key}: there is no folder {folder}: correct the path")
    variables = project_variables(
        env_files, project.folder, folder / ".env", project.variables, item.where
    )
    return Project(paths=paths, folder=folder, variables=variables)


def _with_own_paths(document: Document, folder: Path) -> Document:
    """Return the document with its relative paths made absolute, which begin at its own folder."""
    value: dict[str, Any] = dict(document.value or {})
    for key in ("secrets", "configs", "services"):
        if isinstance(value.get(key), dict):
            value[key] = {name: _at(folder, body) for name, body in value[key].items()}
    for key in ("secrets", "configs"):  # a service's command runs in its container
        if isinstance(value.get(key), dict):
            value[key] = {name: _run_at(folder, body) for name, body in value[key].items()}
    return replace(document, value=value)


def _at(folder: Path, body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    found = dict(body)
    if found.get("env_file") is not None:
        found["env_file"] = absolute(found["env_file"], folder)
    for source in ("file", "template"):
        if isinstance(found.get(source), str):
            found[source] = str((folder / Path(found[source]).expanduser()).absolute())
    return found


def _run_at(folder: Path, body: Any) -> Any:
    """Return a secret or config whose command runs in a folder, if it has one."""
    if not isinstance(body, dict) or body.get("command") is None:
        return body
    said = body.get(WORKING_DIR)
    if said is not None and not isinstance(said, str):
        return body
    return {**body, WORKING_DIR: str((folder / Path(said or "").expanduser()).absolute())}


def _taken_over(included: Document, document: Document, item: Entry) -> Document:
    """Return the document with the resources of an included one, each in its own file's place."""
    value, lines, files = dict(document.value), dict(document.lines), dict(document.files)
    for kind in _RESOURCES:
        here, there = _named(document, kind), _named(included, kind)
        for name in here.keys() & there.keys():
            if here[name].value != there[name].value:
                item.fail(
                    f"{here[name].key} is not the same in {here[name].where} and in"
                    f" {there[name].where}: rename one, or change it in a second file under compose"
                )
        if there:
            value[kind] = {name: entry.value for name, entry in {**there, **here}.items()}
    for path, line in included.lines.items():
        if len(path) > 1 and path[:2] not in document.lines:
            lines[path] = line
            files[path] = included.files.get(path, included.name)
    return replace(document, value=value, lines=lines, files=files)


def _named(document: Document, kind: str) -> dict[str, Entry]:
    section = Entry.top(document).get(kind)
    return dict(section.mapping()) if section is not None else {}
