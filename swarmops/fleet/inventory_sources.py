"""Where an inventory's parts stand: one file, a program, or a folder of both, and vars beside them.

Called by ``inventory``. YAML, INI and JSON are told apart by their names and looks; a file that may
be executed is run. ``group_vars`` and ``host_vars`` beside the inventory are read as Ansible does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from swarmops.errors import InputError
from swarmops.fleet import vault
from swarmops.fleet.document import Document, parse_document, read_document, read_text
from swarmops.fleet.entry import Entry
from swarmops.fleet.groups import Groups, Vars, read_groups
from swarmops.fleet.inventory_ini import parse_ini, refuse_undefined
from swarmops.fleet.inventory_script import run_script
from swarmops.fleet.nearest import did_you_mean

_YAML = (".yml", ".yaml", ".json")
_REJECTED = (".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst")
_IGNORED = (*_REJECTED, ".orig", ".cfg", ".retry")
"""Ansible's list of what lies beside inventories and is none."""
_VARS_FOLDERS = ("group_vars", "host_vars")
_MAPPING = re.compile(r"""(---|\{|["']?[\w.-]+["']?\s*:(\s|$))""")


def read_sources(path: Path, known_vars: frozenset[str]) -> tuple[Groups, list[str]]:
    """Return the groups of all that an inventory's path names, and warnings. Raises InputError."""
    read = [_read(source) for source in _sources(path)]
    documents = [one for one, _ in read if one.value not in (None, {})]
    groups = read_groups(documents, known_vars)
    ini = [one for one, is_ini in read if is_ini]
    elsewhere = _groups_of(one.value for one, is_ini in read if not is_ini)
    sections = {name for one in ini for name, parts in one.value.items() if parts.keys() - {"vars"}}
    for document in ini:
        refuse_undefined(document, elsewhere | sections)
    folder = path if path.is_dir() else path.parent
    warnings = []
    for kind, names in (("group_vars", set(groups.groups)), ("host_vars", set(groups.host_vars))):
        for name, file in _vars_files(folder / kind):
            if name not in names:
                what = kind.removesuffix("_vars")
                warnings.append(f"{file}: the inventory has no {what} '{name}': it is not used")
                continue
            target = groups.group_files if kind == "group_vars" else groups.host_files
            _take(target.setdefault(name, {}), file, known_vars)
    return groups, warnings


def _sources(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = [
        one
        for one in sorted(path.iterdir())
        if one.name not in _VARS_FOLDERS
        and not one.name.startswith(".")
        and not one.name.endswith(_IGNORED)
    ]
    sources = [one for each in found for one in _sources(each)]
    if not sources:
        raise InputError(f"{path}: the folder holds no inventory: put a file with hosts into it")
    return sources


def _groups_of(values: Iterable[Any]) -> set[str]:
    """Return the groups that documents in YAML's shape define, at any depth."""
    found: set[str] = set()
    todo = [value for value in values if isinstance(value, dict)]
    while todo:
        groups = todo.pop()
        found |= groups.keys()
        bodies = [body.get("children") for body in groups.values() if isinstance(body, dict)]
        todo += [children for children in bodies if isinstance(children, dict)]
    return found


def _read(path: Path) -> tuple[Document, bool]:
    """Return an inventory, and whether it has the INI form."""
    if path.is_file() and os.access(path, os.X_OK) and _is_program(path):
        return run_script(path), False
    if path.suffix in _YAML:
        return read_document(path, "inventory"), False
    text = read_text(path, "inventory")
    secret = text.startswith(vault.MARK)
    if secret:
        text = vault.reveal(text, str(path))
    if path.suffix != ".ini" and _looks_like_yaml(text):
        return parse_document(text, str(path), secret=secret), False
    return parse_ini(text, str(path), secret=secret), True


def _is_program(path: Path) -> bool:
    """Say whether a file that may be executed means it: some file systems allow it of all."""
    return path.suffix not in {*_YAML, ".ini"} or path.read_bytes()[:2] == b"#!"


def _looks_like_yaml(text: str) -> bool:
    lines = (line for line in text.splitlines() if line.strip() and line.lstrip()[0] not in "#;")
    return bool(_MAPPING.match(next(lines, "---")))


def _vars_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield names and their files: ``web``, ``web.yml``, or all files of a folder ``web``."""
    if not folder.is_dir():
        return
    for entry in sorted(folder.iterdir(), key=lambda one: (one.is_file(), one.name)):
        if entry.name.startswith(".") or entry.name.endswith(_IGNORED):
            continue
        if entry.is_dir():
            for file in sorted(entry.rglob("*")):
                hidden = any(part.startswith(".") for part in file.relative_to(entry).parts)
                if file.is_file() and not hidden and not file.name.endswith(_IGNORED):
                    yield entry.name, file
        else:
            yield entry.name.removesuffix(entry.suffix if entry.suffix in _YAML else ""), entry


def _take(target: Vars, file: Path, known_vars: frozenset[str]) -> None:
    """Lay the variables of a file over those of the files before it."""
    document = read_document(file, "file of variables")
    for key, entry in Entry.top(document).mapping():
        if key.startswith("swarmops_") and key not in known_vars:
            entry.fail(f"unknown variable '{key}': {did_you_mean(key, known_vars)}")
        target[key] = entry
