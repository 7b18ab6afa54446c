"""The current inventory: the one that was applied last, which commands take unless told another.

Called by apply, which records it, and by every command that works on a swarm. One small text file
in the user's state folder: the inventory's absolute path, and those of the playbooks that ``-p``
named.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from swarmops.errors import InputError
from swarmops.fleet.paths import state_dir

LOCAL_SOCKET = "/run/swarmops/swarmops.sock"


class Choice(msgspec.Struct, frozen=True):
    """Where a command finds its swarm: behind an inventory's hosts, or behind a local socket.

    ``playbooks`` are those that ``apply -p`` used; without any the inventory names it.
    """

    inventory: Path | None = None
    socket: Path | None = None
    playbooks: tuple[Path, ...] = ()


class _Recorded(msgspec.Struct):
    inventory: str
    playbook: str | list[str] | None = None


def record(inventory: Path, playbooks: Sequence[Path] = ()) -> str:
    """Remember what was applied; all paths become absolute. Replaces the file whole.

    Returns why it could not be written, in a sentence, or an empty text: that hinders no apply.
    """
    path = _file()
    named = [str(playbook.absolute()) for playbook in playbooks]
    content = _Recorded(str(inventory.absolute()), named or None)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial.write_bytes(msgspec.json.encode(content) + b"\n")
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        return (
            f"{path} can't be written ({error.strerror}): other commands won't know this inventory,"
            " so give it with -i or SWARMOPS_INVENTORY, or set XDG_STATE_HOME"
        )
    return ""


def forget(inventory: Path) -> None:
    """Forget the current inventory if it is this one: its swarm is no more."""
    recorded = _recorded()
    if recorded is not None and recorded.inventory == str(inventory.absolute()):
        with contextlib.suppress(OSError):  # then commands say that its swarm is gone
            _file().unlink(missing_ok=True)


def choose(named: Path | None, environ: Mapping[str, str]) -> Choice:
    """Say where the swarm is: the first that is given of the places below.

    ``-i``, SWARMOPS_INVENTORY, SWARMOPS_SOCKET, the inventory that was applied last, this
    machine's own socket. Raises InputError where there is none of them.
    """
    recorded = _recorded()
    chosen = named or (Path(environ["SWARMOPS_INVENTORY"]) if _set(environ) else None)
    if chosen is not None:
        same = recorded is not None and recorded.inventory == str(chosen.absolute())
        return Choice(inventory=chosen, playbooks=_playbooks(recorded) if same else ())
    if environ.get("SWARMOPS_SOCKET"):
        return Choice(socket=Path(environ["SWARMOPS_SOCKET"]))
    if recorded is not None:
        if not Path(recorded.inventory).exists():
            raise InputError(
                f"the current inventory {recorded.inventory} is gone: choose another with -i"
            )
        return Choice(inventory=Path(recorded.inventory), playbooks=_playbooks(recorded))
    if Path(LOCAL_SOCKET).exists():
        return Choice(socket=Path(LOCAL_SOCKET))
    raise InputError(
        "no inventory was applied from here yet, and this machine is no node: choose an inventory "
        "with -i or SWARMOPS_INVENTORY"
    )


def _set(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("SWARMOPS_INVENTORY"))


def _file() -> Path:
    return state_dir() / "current"


def _recorded() -> _Recorded | None:
    try:
        return msgspec.json.decode(_file().read_bytes(), type=_Recorded)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise InputError(
            f"{_file()} can't be read ({error}): remove it, and apply the inventory again"
        ) from error


def _playbooks(recorded: _Recorded | None) -> tuple[Path, ...]:
    named = recorded.playbook if recorded is not None else None
    return tuple(map(Path, [named] if isinstance(named, str) else named or []))
