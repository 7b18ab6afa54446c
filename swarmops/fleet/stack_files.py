"""The Compose files of one stack as a single document, read as ``docker compose`` reads them.

Called by ``stacks``. Reads the files that the playbook names, those that these name, and the
environment.
"""

from __future__ import annotations

import os
from pathlib import Path

from swarmops.fleet.compose_env import passed_on, project_variables, with_env_files
from swarmops.fleet.compose_fields import pairs
from swarmops.fleet.compose_include import Project, read_project
from swarmops.fleet.document import Document
from swarmops.fleet.entry import Entry


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
    document = read_project(Project(paths=paths, folder=home, variables=variables))
    document, warnings = passed_on(with_env_files(document, home, variables), variables)
    return document, home, warnings


def _variables(entry: Entry, folder: Path, home: Path) -> dict[str, str]:
    """Return what ``$NAME`` stands for: the playbook's, the shell's, then those of files."""
    said = entry if isinstance(entry.value, dict) else None
    own = pairs(variables) if said is not None and (variables := said.get("variables")) else {}
    env_files = said.get("env_file") if said is not None else None
    return project_variables(env_files, folder, home / ".env", {**os.environ, **own}, entry.where)
