"""Executable inventories: a program of the user's that says with ``--list`` which hosts there are.

Called by ``inventory_sources``. The answer is Ansible's JSON; what it says is read into the shape
of a YAML inventory. Hosts' variables come from ``_meta``, else by one ``--host`` a host.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swarmops.errors import InputError
from swarmops.fleet.document import Document

WITHIN_S = 120.0


def run_script(path: Path) -> Document:
    """Run the program and return its inventory. Raises InputError."""
    answer = _json(path, "--list")
    return script_document(answer, str(path), lambda host: _json(path, "--host", host))


def script_document(answer: Any, name: str, of_host: Callable[[str], Any]) -> Document:
    """Return the inventory that an answer is; ``of_host(name)`` gives one host's variables."""
    if not isinstance(answer, dict):
        raise InputError(f"{name} --list printed no JSON object of groups: see docs/inventory.md")
    meta = answer.pop("_meta", None)
    groups = {group: _group(name, group, body) for group, body in answer.items()}
    names = dict.fromkeys(host for body in groups.values() for host in body.get("hosts", {}))
    if isinstance(meta, dict) and isinstance(meta.get("hostvars"), dict):
        found = meta["hostvars"]
    else:
        found = {host: of_host(host) for host in names}
    top = groups.setdefault("all", {}).setdefault("hosts", {})
    for host in {**names, **found}:
        variables = found.get(host) or {}
        if not isinstance(variables, dict):
            raise InputError(f"{name}: the variables of host '{host}' are no JSON object")
        top[host] = variables
    return Document(name=name, value=groups, lines={})


def _group(name: str, group: str, body: Any) -> dict[str, Any]:
    """Return a group in YAML's shape; a plain list is its hosts."""
    if isinstance(body, list):
        body = {"hosts": body}
    if not isinstance(body, dict):
        raise InputError(f"{name}: group '{group}' is neither an object nor a list of hosts")
    result: dict[str, Any] = {}
    for part in ("hosts", "children"):
        members = body.get(part) or []
        if not isinstance(members, list) or not all(isinstance(one, str) for one in members):
            raise InputError(f"{name}: {part} of group '{group}' must be a list of names")
        result[part] = dict.fromkeys(members)
    variables = body.get("vars") or {}
    if not isinstance(variables, dict):
        raise InputError(f"{name}: vars of group '{group}' must be an object")
    return {**result, "vars": variables}


def _json(path: Path, *words: str) -> Any:
    line = f"{path} {' '.join(words)}"
    try:
        done = subprocess.run(
            [str(path.absolute()), *words], capture_output=True, check=False, timeout=WITHIN_S
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{line} didn't end within {WITHIN_S:g} s") from None
    except OSError as error:
        raise InputError(
            f"{path} can't be run ({error.strerror}): begin it with #! and its interpreter, or"
            " take its execute permission if it is no program"
        ) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        reason = f": {said[-1]}" if said else ""
        raise InputError(f"{line} exited {done.returncode}{reason}")
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        raise InputError(f"{line} printed no JSON ({error})") from None
