"""Which SSH host keys are known, and what to do about one that is offered.

Reads the user's and the system's ``known_hosts`` once a run and never writes to them; swarmops'
own file gets the hosts that are met for the first time. Used by ``ssh``; knows no network.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import fnmatch
import hashlib
import hmac
import os
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

import msgspec

_SYSTEM_FILES = (Path("/etc/ssh/ssh_known_hosts"), Path("/etc/ssh/ssh_known_hosts2"))


class Entry(msgspec.Struct, frozen=True):
    """One line of a known_hosts file: ``blob`` is the key as it goes over the wire."""

    patterns: str
    key_type: str
    blob: bytes
    path: str
    line: int
    revoked: bool = False

    def matches(self, name: str) -> bool:
        """Whether the line is about ``name``: an address, or ``[address]:port``, in any case.

        As OpenSSH, which writes and looks up small letters only.
        """
        name = name.lower()
        if self.patterns.startswith("|1|"):
            return _hash_matches(self.patterns, name)
        matched = False
        for pattern in self.patterns.lower().split(","):
            if pattern.startswith("!"):
                if _glob(name, pattern[1:]):
                    return False
            elif _glob(name, pattern):
                matched = True
        return matched


def _glob(name: str, pattern: str) -> bool:
    """SSH knows ``*`` and ``?`` only; brackets stand for themselves (``[host]:2222``)."""
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))


def _hash_matches(field: str, name: str) -> bool:
    try:
        _, _, salt, digest = field.split("|")
        key, wanted = base64.b64decode(salt), base64.b64decode(digest)
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(hmac.digest(key, name.encode(), hashlib.sha1), wanted)


def parse(text: str, path: str) -> list[Entry]:
    """Read known_hosts text; lines that are no host keys (certificate authorities) are left out."""
    entries = []
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        revoked = bool(fields) and fields[0] == "@revoked"
        if revoked:
            fields = fields[1:]
        if len(fields) < 3 or fields[0].startswith(("#", "@")):  # noqa: PLR2004 - names, type, key
            continue
        try:
            blob = base64.b64decode(fields[2], validate=True)
        except binascii.Error:
            continue
        entries.append(Entry(fields[0], fields[1], blob, path, number, revoked))
    return entries


class Verdict(msgspec.Struct, frozen=True):
    """What is known about an offered key: "known", "unknown", "changed" or "revoked"."""

    state: str
    entry: Entry | None = None


def host_id(address: str, port: int) -> str:
    """Return the name under which known_hosts files list a host."""
    return address.lower() if port == 22 else f"[{address.lower()}]:{port}"  # noqa: PLR2004 - SSH's


def judge(entries: Iterable[Entry], blob: bytes) -> Verdict:
    """Judge a key by the entries of its host."""
    listed = list(entries)
    for entry in listed:
        if entry.revoked and entry.blob == blob:
            return Verdict("revoked", entry)
    valid = [entry for entry in listed if not entry.revoked]
    for entry in valid:
        if entry.blob == blob:
            return Verdict("known", entry)
    return Verdict("changed", valid[0]) if valid else Verdict("unknown")


class KnownHosts:
    """The known hosts of one run, safe to share between threads."""

    def __init__(self, own: Path | None = None, others: Iterable[Path] | None = None) -> None:
        """``own`` is swarmops' file, ``others`` are read only (the user's and the system's)."""
        self.own = own or default_path()
        paths = user_files() if others is None else tuple(others)
        self._lock = threading.Lock()
        self._fixed = [entry for path in paths for entry in _read(path)]
        self._recorded = _read(self.own)
        self._files: dict[Path, list[Entry]] = {}

    def entries(self, name: str, files: Iterable[Path] = ()) -> list[Entry]:
        """Return what is listed for a host (see ``host_id``), swarmops' own file last.

        ``files`` are read too: what ssh_config says for that host. Where they are ``/dev/null``
        nothing of it is to be remembered, and the system's files alone count.
        """
        files = tuple(files)
        with self._lock:
            if forgotten(files):
                system = [one for one in self._fixed if Path(one.path) in _SYSTEM_FILES]
                return [entry for entry in system if entry.matches(name)]
            more = [entry for path in files for entry in self._file(path)]
            return [e for e in (*more, *self._fixed, *self._recorded) if e.matches(name)]

    def _file(self, path: Path) -> list[Entry]:
        if path not in self._files:
            self._files[path] = _read(path)
        return self._files[path]

    def record(self, name: str, key_type: str, blob: bytes) -> Verdict:
        """Write an unknown key down and return "unknown", or what another run wrote meanwhile.

        Raises OSError if the file can't be written.
        """
        with self._lock:
            self.own.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self.own.with_name(f"{self.own.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._recorded = _read(self.own)
                verdict = judge([e for e in self._recorded if e.matches(name)], blob)
                if verdict.state == "unknown":
                    line = f"{name.lower()} {key_type} {base64.b64encode(blob).decode()}\n"
                    _append(self.own, line)
                    self._recorded = _read(self.own)
                return verdict


def forgotten(files: Iterable[Path]) -> bool:
    """Say whether these UserKnownHostsFiles mean that no key is to be remembered."""
    return {str(path) for path in files} == {"/dev/null"}


def _append(path: Path, line: str) -> None:
    """Replace the file by itself and the line: a reader, and a crash, see whole lines only."""
    old = path.read_text() if path.exists() else ""
    if old and not old.endswith("\n"):
        old += "\n"
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "w") as out:
            out.write(old + line)
            out.flush()
            os.fsync(out.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read(path: Path) -> list[Entry]:
    try:
        return parse(path.read_text(errors="replace"), str(path))
    except OSError:
        return []


def user_files() -> tuple[Path, ...]:
    """Return the user's and the system's files, as OpenSSH looks for them."""
    home = Path("~/.ssh").expanduser()
    return (home / "known_hosts", home / "known_hosts2", *_SYSTEM_FILES)


def default_path() -> Path:
    """Return swarmops' own file, below ``$XDG_STATE_HOME``."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "swarmops" / "known_hosts"
