"""Docker contexts on this machine: what ``docker --context NAME`` reads.

Called by the commands that write one. A context is a file in Docker's own configuration folder; its
folder's name is the SHA-256 of the context's name, which is Docker's convention.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

import msgspec

from swarmops.errors import InputError

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.+-]+")  # docker's own rule


def write_context(name: str, host: str, description: str) -> Path:
    """Write or replace the context that reaches ``host`` (``unix://…``). Raises InputError."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"'{name}' is no name for a Docker context: use letters, digits and _.+- (two at least)"
        )
    folder = _folder(name)
    meta = folder / "meta.json"
    if meta.exists() and not _is_ours(meta):
        raise InputError(f"a Docker context '{name}' is there and not ours: choose another name")
    content = {
        "Name": name,
        "Metadata": {"Description": description, "swarmops": True},
        "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        meta.write_bytes(msgspec.json.encode(content))
    except OSError as error:
        raise InputError(f"{meta} can't be written ({error.strerror})") from error
    return meta


def remove_context(name: str) -> None:
    """Remove a context that we wrote. Raises InputError for any other."""
    folder = _folder(name)
    meta = folder / "meta.json"
    if not meta.exists() or not _is_ours(meta):
        raise InputError(f"there is no Docker context '{name}' of ours: see 'docker context ls'")
    shutil.rmtree(folder)


def our_contexts() -> list[str]:
    """Return the names of the contexts that we wrote."""
    ours = filter(_is_ours, sorted(_folder("").parent.glob("*/meta.json")))
    return [str(msgspec.json.decode(meta.read_bytes())["Name"]) for meta in ours]


def _is_ours(meta: Path) -> bool:
    """Say whether a context carries our mark, whatever its description says."""
    try:
        content = msgspec.json.decode(meta.read_bytes())
        return bool(content["Metadata"].get("swarmops"))
    except (OSError, msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return False


def _folder(name: str) -> Path:
    home = os.environ.get("DOCKER_CONFIG") or str(Path.home() / ".docker")
    return Path(home) / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
