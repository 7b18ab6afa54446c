"""Learn everything about a host that a plan needs, and print it as one JSON object.

Sent by ``fleet.facts``. Reads only; changes nothing on the host. Imports stay few: each costs
milliseconds on every host of every apply.
"""

# Importing pathlib costs milliseconds on every host of every apply.
# ruff: noqa: PTH110, PTH112, PTH115, PTH116, PTH119, PTH120, PTH123, PTH208

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time

from swarmops.backends.hostside.asking import ask, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

_PROGRAMS = ("/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/snap/bin")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def python() -> dict[str, Any]:
    """Describe the interpreter that runs this, and the C library under it."""
    libc, version = "musl", "0.0"
    with contextlib.suppress(ValueError, OSError):  # musl has no such name
        libc, version = (os.confstr("CS_GNU_LIBC_VERSION") or "musl 0.0").split()
    return {
        "executable": sys.executable,
        "version": list(sys.version_info[:3]),
        "implementation": sys.implementation.name,
        "libc": libc,
        "libc_version": [int(part) for part in version.split(".")[:2]],
    }


def _unit(name: str) -> dict[str, Any]:
    shown = subprocess.run(
        ["systemctl", "show", "-p", "ActiveState,SubState,UnitFileState,MainPID", name],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    ).stdout
    values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    content = _read(f"/etc/systemd/system/{name}")
    digest = None
    if content:
        import hashlib  # noqa: PLC0415 - only where there is a unit

        digest = hashlib.sha256(content.encode()).hexdigest()
    return {
        "active": values.get("ActiveState", "inactive"),
        "sub": values.get("SubState", "dead"),
        "enabled": values.get("UnitFileState") == "enabled",
        "main_pid": int(values.get("MainPID") or 0),
        "digest": digest,
    }


def _supervisor(data_dir: str) -> int | None:
    """Return the supervisor's process id: it lives as long as its lock is held."""
    import fcntl  # noqa: PLC0415 - only where there is a data directory

    path = f"{data_dir}/supervisor.pid"
    try:
        with open(path, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return None


def _running_release(pid: int, root_dir: str) -> str | None:
    """Return the release whose libraries a process has mapped: what runs, whatever is installed."""
    releases = f"{root_dir}/releases/"
    for line in _read(f"/proc/{pid}/maps").splitlines():
        _, found, path = line.partition(releases)
        if found:
            return path.partition("/")[0]
    return None


def _daemon_pid(unit: dict[str, Any] | None, data_dir: str, supervisor: int | None) -> int:
    """Return the daemon's process id, 0 if it doesn't run: as systemd or the supervisor says."""
    if unit and unit["main_pid"]:
        return int(unit["main_pid"])
    if supervisor is None:
        return 0
    try:
        pid = int(json.loads(_read(f"{data_dir}/daemon.pid"))["pid"])
    except (ValueError, KeyError, TypeError):
        return 0
    return pid if os.path.exists(f"/proc/{pid}") else 0


def _release_ok(folder: str) -> bool:
    """Compare the sizes of the files with the manifest: power lost while unpacking shows here."""
    manifest = _read(f"{folder}/.manifest")
    if not manifest:
        return False
    for line in manifest.splitlines():
        size, _, name = line.partition(" ")
        try:
            if os.stat(f"{folder}/{name}").st_size != int(size):
                return False
        except OSError:
            return False
    return True


def _free_bytes(path: str) -> int:
    while True:
        try:
            stat = os.statvfs(path)
        except OSError:
            path = os.path.dirname(path)
            continue
        return stat.f_bavail * stat.f_frsize


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _user() -> str:
    import pwd  # noqa: PLC0415 - cheap, but only here

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _machine_id() -> str:
    """Name the machine as its network sees it: containers of one kernel have each their own.

    Its own IDs would not do: machines that were made from one image may share them.
    """
    try:
        booted = _read("/proc/sys/kernel/random/boot_id").strip()
        return f"{booted} {os.readlink('/proc/self/ns/net')}" if booted else ""
    except OSError:
        return ""


def _group(name: str) -> bool:
    return any(line.startswith(f"{name}:") for line in _read("/etc/group").splitlines())


def main(args: dict[str, Any], _payload: BinaryIO) -> dict[str, Any]:
    """``args``: data_dir, socket, root_dir, unit, local, lock_file, timeout_s, also."""
    began = time.time()
    uname = os.uname()
    root_dir, data_dir = args["root_dir"], args["data_dir"]
    systemd = not args["local"] and os.path.isdir("/run/systemd/system")
    try:
        current = os.path.basename(os.readlink(f"{root_dir}/current"))
    except OSError:
        current = None
    releases = [] if args["local"] else _names(f"{root_dir}/releases")
    unit = _unit(args["unit"]) if systemd else None
    supervisor = _supervisor(data_dir)
    daemon = _daemon_pid(unit, data_dir, supervisor)
    api, api_error, silent = None, None, False
    try:
        api = ask(args["socket"], args["timeout_s"], args.get("also", []))
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        api_error = words(error)
        silent = isinstance(error, TimeoutError)
    return {
        "hostname": uname.nodename,
        "machine_id": _machine_id(),
        "python": python(),
        "system": uname.sysname.lower(),
        "machine": uname.machine,
        "user": _user(),
        "is_root": os.geteuid() == 0,
        "systemd": systemd,
        "releases": [name for name in releases if not name.startswith(".")],
        "parts": any(name.startswith(".part-") for name in releases),
        "current": None if args["local"] else current,
        "release_ok": bool(current) and not args["local"] and _release_ok(f"{root_dir}/current"),
        "wrapper": os.path.exists("/usr/local/bin/swarmops"),
        "group": _group("swarmops"),
        "running_release": _running_release(daemon, root_dir),
        "unit": unit,
        "supervisor_pid": supervisor,
        "daemon_pid": daemon,
        "data_dir_exists": os.path.isdir(data_dir),
        "lock_file_exists": os.path.exists(args["lock_file"]),
        "socket_exists": os.path.exists(args["socket"]),
        "api": api,
        "api_error": api_error,
        "silent": silent,
        "engine": any(os.path.exists(f"{folder}/dockerd") for folder in _PROGRAMS),
        "disk_free_bytes": _free_bytes(data_dir),
        "memory_bytes": _memory_bytes(),
        "cpus": os.cpu_count() or 1,
        "clock_began_s": began,
        "clock_ended_s": time.time(),
    }
