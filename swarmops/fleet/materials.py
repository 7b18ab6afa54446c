"""The playbook's ``secrets`` and ``configs``: where their content comes from, and which version.

Called by the playbook's reader. Content is read when the playbook is: from a file, a template, an
environment variable, a command on the operator's machine, or the playbook itself. A changed content
is a new object in the swarm, ``NAME.vN``; services follow it, and the old one is removed.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec

from swarmops.fleet.compose_fields import pairs, words
from swarmops.fleet.entry import Entry
from swarmops.fleet.templates import Scope

COMMAND_WITHIN_S = 60.0
SOURCES = ("content", "file", "template", "environment", "command", "external")
WORKING_DIR = "working_dir"
"""Where a ``command`` runs; an included Compose file's commands get its folder so."""
_ALSO = ("labels", "name", WORKING_DIR)
_BYTES_MAX = {"secret": 500 * 1024, "config": 1000 * 1024}  # Docker's


class Material(msgspec.Struct, frozen=True, kw_only=True):
    """One secret or config that the playbook keeps."""

    kind: str
    """``secret`` or ``config``."""
    name: str
    content: bytes
    labels: dict[str, str] = {}

    def __repr__(self) -> str:
        """Without its content: it may end up in a log."""
        return f"Material({self.kind!r}, {self.name!r})"


def read_materials(kind: str, section: Entry, folder: Path, scope: Scope) -> Iterator[Material]:
    """Yield what a section ``secrets`` or ``configs`` keeps; external ones are the swarm's own.

    ``folder`` is what relative paths begin at. Raises InputError.
    """
    for name, entry in section.mapping():
        entry.section({*SOURCES, *_ALSO})
        given = [source for source in SOURCES if entry.get(source) is not None]
        if len(given) != 1:
            entry.fail(f"{entry.key} needs one of {', '.join(SOURCES)}, and has {len(given)}")
        source = entry.child(given[0])
        if given[0] == "external":
            if not source.boolean():
                entry.fail(f"{entry.key} needs one of {', '.join(SOURCES[:-1])}")
            continue
        if given[0] == "content" and kind == "secret":
            source.fail(
                f"{source.key} would put the secret into the playbook in clear: use file,"
                " environment or command, or encrypt the playbook with ansible-vault and use"
                " template"
            )
        home = folder
        if (said := entry.get(WORKING_DIR)) is not None:
            if given[0] != "command":
                said.fail(
                    f"{said.key} is where a command runs, and {entry.key} has none: remove it"
                )
            home = folder / Path(said.name()).expanduser()
        content = _content(given[0], source, home, scope)
        if len(content) > _BYTES_MAX[kind]:
            source.fail(
                f"{entry.key} has {len(content)} bytes, and a {kind} holds {_BYTES_MAX[kind]}"
            )
        labels = pairs(found) if (found := entry.get("labels")) else {}
        yield Material(kind=kind, name=name, content=content, labels=labels)


def _content(source: str, entry: Entry, folder: Path, scope: Scope) -> bytes:
    if source == "content":
        return entry.string().encode()
    if source == "environment":
        name = entry.name()
        if name not in os.environ:
            entry.fail(f"{entry.key}: the environment variable {name} is not set: set it")
        return os.fsencode(os.environ[name])
    if source == "command":
        return _said(words(entry), entry, folder)
    path = folder / Path(entry.name()).expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        entry.fail(f"{entry.key}: {path} can't be read: {error.strerror}")
    if source == "file":
        return content
    try:
        text = content.decode()
    except UnicodeDecodeError:
        entry.fail(f"{entry.key}: {path} is no UTF-8 text, so no template: use file")
    return str(scope.render(text, str(path), path.name)).encode()


def _said(argv: list[str], entry: Entry, folder: Path) -> bytes:
    """Run a command and return what it printed, without the last newline."""
    try:
        done = subprocess.run(
            argv, cwd=folder, capture_output=True, check=False, timeout=COMMAND_WITHIN_S
        )
    except subprocess.TimeoutExpired:
        entry.fail(f"{entry.key}: {argv[0]} did not end within {COMMAND_WITHIN_S:g} s")
    except (OSError, IndexError) as error:
        entry.fail(f"{entry.key}: it can't be run: {error}")
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        entry.fail(f"{entry.key}: {argv[0]} exited with {done.returncode}: {''.join(last)}")
    return done.stdout.removesuffix(b"\n")
