"""Install, start, stop a Docker Engine, or make it leave its swarm.

Sent by the docker backend. Uses the distribution's package manager and systemd; adds no
repository, changes no configuration of the engine.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

_LOOK_EVERY_S = 0.1
_INSTALLERS: tuple[tuple[str, list[str], list[str], list[str]], ...] = (
    # program, what refreshes its lists, what installs
    ("apt-get", ["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq"], ["docker.io"]),
    ("dnf", [], ["dnf", "install", "-y", "-q"], ["moby-engine"]),
    ("zypper", [], ["zypper", "--non-interactive", "install"], ["docker"]),
    ("pacman", [], ["pacman", "-Sy", "--noconfirm"], ["docker"]),
    ("apk", [], ["apk", "add", "--quiet"], ["docker"]),
)
_NOT_IN_SWARM = 503


def _said(argv: list[str]) -> str:
    """Run it; returns '' or what it complained about: apt's first error, others' last words."""
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C")
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    if done.returncode == 0:
        return ""
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    first = [line for line in lines if line.startswith("E: ")][:1]
    return (first or lines[-1:] or [f"exit {done.returncode}"])[0]


def _install(args: dict[str, Any]) -> str:
    if args["packages"]:
        found = next((entry for entry in _INSTALLERS if shutil.which(entry[0])), None)
        if found is None:
            names = ", ".join(entry[0] for entry in _INSTALLERS)
            return f"none of {names} is there: install Docker Engine by hand"
        program, refresh, install, packages = found
        if refresh and (said := _said(refresh)):
            return f"{program} can't refresh its lists: {said}"
        if said := _said([*install, *packages]):
            return f"{program} can't install {' '.join(packages)}: {said}"
    if args["unit"] and (said := _said(["systemctl", "enable", args["unit"]])):
        return f"systemd can't enable {args['unit']}: {said}"
    return ""


def _request(path: str, method: str, target: str) -> tuple[int, str]:
    """HTTP/1.0 by hand; returns the status and the answer's message."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(path)
        head = f"{method} {target} HTTP/1.0\r\nHost: docker\r\nContent-Length: 0\r\n\r\n"
        sock.sendall(head.encode())
        answer = b"".join(iter(lambda: sock.recv(1 << 16), b""))
    status = int(answer.split(None, 2)[1])
    body = answer.partition(b"\r\n\r\n")[2]
    try:
        return status, str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return status, body.decode(errors="replace").strip()


def _start(args: dict[str, Any]) -> str:
    unit = args["unit"]
    if unit:
        said = _said(["systemctl", "start", unit])
        if "not found" in said:  # systemd looked before the package was there
            _said(["systemctl", "daemon-reload"])
            said = _said(["systemctl", "start", unit])
        if said:
            return f"systemd can't start {unit}: {said} (journalctl -u {unit})"
    deadline = time.monotonic() + args["within_s"]
    while True:
        try:
            if _request(args["socket"], "GET", "/_ping")[0] == 200:  # noqa: PLR2004 - HTTP's OK
                return ""
        except (OSError, ValueError, IndexError):
            pass
        if time.monotonic() > deadline:
            return f"Docker Engine doesn't serve {args['socket']}: journalctl -u {unit or 'docker'}"
        time.sleep(_LOOK_EVERY_S)


def _stop(args: dict[str, Any]) -> str:
    if not args["unit"]:
        return "without systemd swarmops can't stop Docker Engine: stop it there"
    # The socket unit would start it again with the next client.
    said = _said(["systemctl", "stop", "docker.socket", args["unit"]])
    return "" if not said or "not loaded" in said else f"systemd can't stop {args['unit']}: {said}"


def _leave(args: dict[str, Any]) -> str:
    status, message = _request(args["socket"], "POST", "/swarm/leave?force=1")
    if status in {200, _NOT_IN_SWARM}:
        return ""
    return f"Docker Engine can't leave its swarm: {message}"


def main(args: dict[str, Any], _payload: BinaryIO) -> dict[str, Any]:
    """``args``: verb (install, start, stop, leave), unit or '', socket, packages, within_s."""
    verbs = {"install": _install, "start": _start, "stop": _stop, "leave": _leave}
    complaint = verbs[args["verb"]](args)
    return {"error": complaint} if complaint else {}
