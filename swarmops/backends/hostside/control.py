"""Start or stop the node's daemon, under systemd or our supervisor, and wait until it is so.

Sent by the native backend. Never touches the node's tasks: they outlive the daemon.
"""

# Importing pathlib costs milliseconds on every host of every apply.
# ruff: noqa: PTH103, PTH105, PTH110, PTH112, PTH114, PTH115, PTH119, PTH123, PTH208, PTH211

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

_LOOK_EVERY_S = 0.02
_STOP_WITHIN_S = 30.0


def _answers(path: str) -> bool:
    """Whether the API answers a ping."""
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(2)
            sock.connect(path)
            sock.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return sock.recv(16).startswith(b"HTTP/1.")
    except OSError:
        return False


def _supervisor(data_dir: str) -> int | None:
    """Return the process id of the supervisor that holds the lock."""
    try:
        with open(f"{data_dir}/supervisor.pid", "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read() or 0)
    except (OSError, ValueError):
        return None
    return None


def _systemctl(*words: str) -> str:
    """Run it; returns what it complained about."""
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip() or f"exit {done.returncode}")


def _last_words(args: dict[str, Any]) -> str:
    """Return the last line of the daemon's log: usually the reason."""
    if args["unit"]:
        argv = ["journalctl", "-q", "-o", "cat", "-n", "20", "--no-pager"]
        argv += [f"_SYSTEMD_UNIT={args['unit']}"]
        text = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    else:
        try:
            with open(f"{args['data_dir']}/daemon.log", "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 8192))
                text = file.read().decode(errors="replace")
        except OSError:
            text = ""
    said = [x.strip() for x in text.splitlines() if x.strip() and not x.startswith("supervisor:")]
    return said[-1][:300] if said else "it said nothing"


def _claim(data_dir: str) -> str:
    """Mark the data directory as ours, so that it may be removed later; returns what forbids it."""
    marker = f"{data_dir}/.swarmops"
    if os.path.exists(marker):
        return ""
    if os.path.isdir(data_dir) and os.listdir(data_dir):
        return f"{data_dir} is not empty and not a node's: choose another swarmops_data_dir"
    os.makedirs(data_dir, 0o700, exist_ok=True)
    with open(marker, "w", encoding="utf-8") as file:
        file.write("A node of swarmops lives here.\n")
    return ""


def _start(args: dict[str, Any]) -> dict[str, Any]:
    if refusal := _claim(args["data_dir"]):
        return {"error": refusal}
    complaint = _started(args)
    if not complaint:
        return {}
    former = args.get("former", "")
    link = f"{args.get('root_dir', '')}/current"
    if not former or not os.path.islink(link):
        return {"error": complaint}
    failed = os.path.basename(os.readlink(link))
    if failed == former:
        return {"error": complaint}
    _switch(link, f"{args['root_dir']}/releases/{former}")
    again = _started(args)
    back = f"it is back on {former}" if not again else f"and {former} fails too: {again}"
    return {"error": f"release {failed} doesn't come up well: {complaint}; {back}"}


def _switch(link: str, target: str) -> None:
    """Point a symbolic link somewhere else, atomically."""
    temporary = f"{link}.swarmops-{os.getpid()}"
    os.symlink(target, temporary)
    os.replace(temporary, link)


def _started(args: dict[str, Any]) -> str:
    """Restart into the release that is switched on, and wait until it is well; or what is not."""
    unit = args["unit"]
    deadline = time.monotonic() + args["within_s"]
    if unit:
        complaint = _systemctl("restart", unit)
        if "not found" in complaint:  # systemd looked before the unit was there
            _systemctl("daemon-reload")
            complaint = _systemctl("restart", unit)
        if complaint:
            return f"systemd can't start {unit}: {_last_words(args)} (journalctl -u {unit})"
    else:
        _stop(args)
        environment = dict(os.environ, **args["environment"])
        done = subprocess.run(
            args["argv"], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            return f"the supervisor can't start: {done.stderr.strip()[-300:]}"
    where = f"journalctl -u {unit}" if unit else f"{args['data_dir']}/daemon.log"
    while not _answers(args["socket"]):
        if time.monotonic() > deadline:
            return f"the runtime doesn't serve its socket: {_last_words(args)} ({where})"
        time.sleep(_LOOK_EVERY_S)
    deadline = time.monotonic() + args["within_s"]
    while lack := _lack(args["socket"], args.get("was", "")):
        if time.monotonic() > deadline:
            return f"{lack}: {_last_words(args)} ({where})"
        time.sleep(_LOOK_EVERY_S)
    return ""


def _lack(path: str, was: str) -> str:
    """Return what a node that was well in its swarm still lacks to be so again."""
    if not was:
        return ""
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(path)
            sock.sendall(b"GET /info HTTP/1.0\r\nHost: docker\r\n\r\n")
            answer = b"".join(iter(lambda: sock.recv(1 << 16), b""))
        swarm = json.loads(answer.partition(b"\r\n\r\n")[2])["Swarm"]
    except (OSError, ValueError, KeyError) as error:
        return f"the runtime doesn't tell how it is ({error})"
    if swarm.get("LocalNodeState") != "active" or swarm.get("Error"):
        state = swarm.get("Error") or swarm.get("LocalNodeState")
        return f"the node is not well in its swarm ({state})"
    if was == "manager" and not swarm.get("ControlAvailable"):
        return "the node's manager doesn't come back"
    return ""


def _stop(args: dict[str, Any]) -> dict[str, Any]:
    if args["unit"]:
        complaint = _systemctl("stop", args["unit"])
        if complaint and "not loaded" not in complaint:
            return {"error": f"systemd can't stop {args['unit']}: {complaint}"}
        return {}
    deadline = time.monotonic() + _STOP_WITHIN_S
    while pid := _supervisor(args["data_dir"]):
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            break
        if time.monotonic() > deadline:
            return {"error": f"the supervisor (process {pid}) doesn't end"}
        time.sleep(_LOOK_EVERY_S)
    return {}


def main(args: dict[str, Any], _payload: BinaryIO) -> dict[str, Any]:
    """``args``: verb (start, stop), unit or '', data_dir, socket, argv, environment, within_s.

    To start also former (a release, '' for none), was (manager, worker, '') and root_dir.
    """
    return _start(args) if args["verb"] == "start" else _stop(args)
