"""Remove a stopped node from its host: tasks that are left, containers, files, unit, group.

Sent by the native backend. Kills only processes, and removes only containers, that carry the name
of a task of this very node; everything that it deletes is a path that swarmops made.
"""

# Importing pathlib costs milliseconds on every host of every apply.
# ruff: noqa: PTH106, PTH108, PTH112, PTH115, PTH119, PTH120, PTH123, PTH208

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

_ID = re.compile(r"[0-9a-z]{25}")
_DOCKER = "/var/run/docker.sock"
_GRACE_S = 5.0


def _is_a_nodes(data_dir: str) -> bool:
    """Whether swarmops began the folder, or a daemon made it anew after somebody removed it."""
    there = os.listdir(data_dir)
    return not there or ".swarmops" in there or {"node.json", "worker"}.issubset(there)


def _task_ids(data_dir: str) -> set[str]:
    """Return the tasks that left files in the node's own directory."""
    ids = set()
    for _, folders, files in os.walk(data_dir):
        ids |= {m.group() for n in (*folders, *files) if (m := _ID.match(n))}
    return ids


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _processes(ids: set[str], node_id: str) -> set[int]:
    """Return the processes of these tasks, by the environment that only swarmops gave them.

    With them everything in their sessions: a task's child may have cleared its environment.
    """
    wanted = {f"SWARMOPS_TASK_ID={task}".encode() for task in ids}
    if node_id:
        wanted.add(f"SWARMOPS_NODE_ID={node_id}".encode())
    spared = {0, 1, os.getsid(0)}
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    marked = {p for p in pids if wanted.intersection(_read(f"/proc/{p}/environ").split(b"\0"))}
    # A session counts as a task's only if its leader is one: nothing else is dragged along.
    sessions = {_session(p) for p in marked} & (marked - spared)
    return (marked | {p for p in pids if _session(p) in sessions}) - {os.getpid()}


def _alive(pid: int) -> bool:
    state = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return bool(state) and state[0] not in (b"Z", b"X")


def _kill(find: Any) -> int:
    """SIGTERM, and SIGKILL after a grace; returns how many there were."""
    pids = found = find()
    deadline = time.monotonic() + _GRACE_S
    number = signal.SIGTERM
    while pids:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        while any(map(_alive, pids)) and time.monotonic() < deadline:
            time.sleep(0.02)
        pids = {pid for pid in find() if _alive(pid)}
        if number == signal.SIGKILL:
            break
        number, deadline = signal.SIGKILL, time.monotonic() + _GRACE_S
    return len(found)


def _busy(folder: str) -> bool:
    """Whether a process works below a folder: a task's script that still notes the exit code."""
    for name in os.listdir("/proc"):
        if name.isdigit() and name != str(os.getpid()):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{name}/cwd").startswith(f"{folder}/"):
                    return True
    return False


def _docker(method: str, target: str) -> Any:
    """Ask the Docker Engine, HTTP/1.0 by hand; None if there is none."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        try:
            sock.connect(_DOCKER)
            sock.sendall(f"{method} {target} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
            answer = bytearray()
            while part := sock.recv(1 << 16):
                answer += part
        except OSError:
            return None
    body = bytes(answer).partition(b"\r\n\r\n")[2]
    try:
        return json.loads(body)
    except ValueError:
        return None


def _containers(ids: set[str], node_id: str) -> int:
    listed = _docker("GET", "/containers/json?all=1")
    count = 0
    for container in listed if isinstance(listed, list) else ():
        labels = container.get("Labels") or {}
        task = labels.get("com.docker.swarm.task.id", "")
        node = labels.get("com.docker.swarm.node.id", "")
        if task in ids or (node_id and node == node_id):
            _docker("DELETE", f"/containers/{container['Id']}?force=1&v=1")
            count += 1
    return count


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _unit(name: str) -> None:
    base = "/etc/systemd/system"
    _unlink(f"{base}/multi-user.target.wants/{name}")
    _unlink(f"{base}/{name}")
    for verb in (["daemon-reload"], ["reset-failed", name]):
        subprocess.run(["systemctl", *verb], check=False, capture_output=True)


def _group(name: str) -> None:
    if any(line.startswith(f"{name}:".encode()) for line in _read("/etc/group").splitlines()):
        for argv in (["groupdel", name], ["delgroup", name]):
            if shutil.which(argv[0]):
                subprocess.run(argv, check=False, capture_output=True)
                return


def main(args: dict[str, Any], _payload: BinaryIO) -> dict[str, Any]:
    """``args``: data_dir, socket, lock_file, node_id, and root_dir, unit, wrapper, group or ''."""
    data_dir = args["data_dir"]
    if os.path.isdir(data_dir) and not _is_a_nodes(data_dir):
        return {"error": f"{data_dir} is not a node's: it is left as it is: look what is in it"}
    ids = _task_ids(data_dir)
    killed = _kill(lambda: _processes(ids, args["node_id"]))
    deadline = time.monotonic() + _GRACE_S
    while _busy(data_dir) and time.monotonic() < deadline:
        time.sleep(0.02)
    containers = _containers(ids, args["node_id"])
    if args["unit"]:
        _unit(args["unit"])
    shutil.rmtree(data_dir, ignore_errors=True)
    _unlink(args["socket"])
    _unlink(args["lock_file"])
    folder = os.path.dirname(args["socket"])
    if os.path.basename(folder) == "swarmops":
        with contextlib.suppress(OSError):  # only if it is empty now
            os.rmdir(folder)
    if args["wrapper"]:
        _unlink(args["wrapper"])
    if args["root_dir"]:
        shutil.rmtree(args["root_dir"], ignore_errors=True)
    if args["group"]:
        _group(args["group"])
    left = [p for p in (data_dir, args["root_dir"]) if p and os.path.lexists(p)]
    if left:
        return {"error": f"{', '.join(left)} can't be removed completely"}
    return {"killed": killed, "containers": containers}
