"""The Compose files of one stack as a single document, read as ``docker compose`` reads them.

Called by ``stacks``. Reads the files that the playbook names, those that these name, and the
environment.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path

from swarmops.fleet.compose_env import passed_on, read_env_file, with_env_files
from swarmops.fleet.compose_extends import extended
from swarmops.fleet.compose_fields import pairs
from swarmops.fleet.compose_merge import joined
from swarmops.fleet.document import Document, read_document
from swarmops.fleet.entry import Entry
from swarmops.fleet.interpolation import interpolated


def stack_document(entry: Entry, folder: Path) -> tuple[Document, Path, tuple[str, ...]]:
    """Return a stack's files as one, the folder that paths in it begin at, and warnings.

    ``folder`` is the playbook's. That of the stack is its first file's, as in Compose. Raises
    InputError.
    """
    files = entry
    if isinstance(entry.value, dict):
        entry.section(("compose", "env_file", "variables"))
        files = entry.get("compose") or entry
        if files is entry:
            entry.fail(f"{entry.key} needs compose: the path of its Compose file")
    paths = [folder / Path(text).expanduser() for text in files.strings()]
    if not paths:
        files.expected("the path of a Compose file, or a list of them")
    home = paths[0].parent
    variables = _variables(entry, folder, home)
    read = functools.partial(_read, variables=variables)
    document = joined(extended(read(path), home, read) for path in paths)
    document, warnings = passed_on(with_env_files(document, home, variables), variables)
    return document, home, warnings


def _read(path: Path, variables: Mapping[str, str]) -> Document:
    return interpolated(read_document(path, "Compose file", layered=True), variables)


def _variables(entry: Entry, folder: Path, home: Path) -> dict[str, str]:
    """Return what ``$NAME`` stands for: the playbook's, the shell's, then those of files."""
    said = entry if isinstance(entry.value, dict) else None
    shell = dict(os.environ)
    found: dict[str, str] = {}
    if said is not None and (env_files := said.get("env_file")):
        for text in env_files.strings():
            found |= read_env_file(folder / text, env_files.where, {**found, **shell})
    elif (home / ".env").is_file():
        found = read_env_file(home / ".env", entry.where, shell)
    own = pairs(variables) if said is not None and (variables := said.get("variables")) else {}
    return {**found, **shell, **own}
