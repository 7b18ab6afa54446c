"""The ``native`` backend: swarmops' own runtime on the host, kept running by systemd or by us.

Called by the fleet through ``base.Backend``. A host reached over SSH gets the bundle and, where
systemd is process 1, a unit; a local node runs the operator's own interpreter and packages under
``swarmops.supervisor``. Never talks to the API: that is the fleet's.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import threading
from pathlib import Path
from typing import Any

import swarmops
from swarmops.backends import bundle, hostside, upload
from swarmops.backends.base import Artifact, Facts, Home, Missing, Place, Shell
from swarmops.backends.wheels import Platform
from swarmops.errors import HostError

GROUP = "swarmops"
WRAPPER = "/usr/local/bin/swarmops"
_START_WITHIN_S = 30.0
_DISK_BYTES_MIN = 200 << 20
_UNITS = Path("/etc/systemd/system")


class NativeBackend:
    """See ``base.Backend``. One object serves all hosts of a run, from several threads."""

    name = "native"
    home = Home(
        socket="/run/swarmops/swarmops.sock", data_dir="/var/lib/swarmops", unit="swarmops.service"
    )

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._releases: dict[Platform, str] = {}
        self._bundles: dict[Platform, bundle.Bundle] = {}

    def artifact(self, facts: Facts, place: Place) -> Artifact:
        """See ``Backend.artifact``: a local node needs none."""
        if place.local:
            return Artifact("")
        platform = bundle.platform_of(facts)
        with self._lock:
            if platform not in self._releases:
                self._releases[platform] = bundle.release_of(platform)
            return Artifact(self._releases[platform], f"{platform.python_tag}-{platform.machine}")

    def missing(self, facts: Facts, place: Place, artifact: Artifact) -> tuple[Missing, ...]:
        """See ``Backend.missing``."""
        check_possible(facts, place)
        found = []
        if artifact.release and not (facts.current == artifact.release and facts.release_ok):
            newer = _newer_version(facts)
            reason = f"; it goes back from {newer} to {swarmops.__version__}" if newer else ""
            reason = _why_runtime(facts, artifact) + reason
            found.append(Missing("runtime", reason, backward=bool(newer)))
        if _under_systemd(facts, place):
            text = unit_text(facts, place)
            unit = facts.unit
            if unit is None or unit.digest != hashlib.sha256(text.encode()).hexdigest():
                reason = (
                    "the unit is not installed"
                    if not (unit and unit.digest)
                    else ("the unit is not as it should be")
                )
                found.append(Missing("unit", reason))
            elif not unit.enabled:
                found.append(Missing("unit", "the unit is not enabled"))
        if not facts.running:
            found.append(Missing("process", _why_process(facts)))
        elif found:
            found.append(Missing("process", "it has to be restarted for that"))
        elif artifact.release and facts.running_release not in {None, artifact.release}:
            # An apply that ended between installing and restarting leaves this.
            reason = f"it still runs release {facts.running_release}"
            found.append(Missing("process", reason))
        return tuple(found)

    def install(self, shell: Shell, facts: Facts, place: Place, artifact: Artifact) -> None:
        """See ``Backend.install``."""
        if place.local:
            return
        release, built = artifact.release, None
        if not (release in facts.releases and facts.release_ok and facts.current == release):
            built = self._bundle(bundle.platform_of(facts), shell.host)
            release = built.release
        files = {WRAPPER: [wrapper_text(facts, place), 0o755]}
        links = {}
        systemd = _under_systemd(facts, place)
        if systemd:
            unit = _UNITS / place.unit
            files[str(unit)] = [unit_text(facts, place), 0o644]
            links[str(_UNITS / "multi-user.target.wants" / place.unit)] = str(unit)
        args = {
            "root_dir": place.root_dir,
            "release": release,
            "files": files,
            "links": links,
            "group": GROUP,
        }
        upload.send(
            shell,
            "install",
            args,
            built.content if built else b"",
            upload.Parts(f"{place.root_dir}/releases", ".part-"),
            sha256=built.sha256 if built else None,
            resume=built is not None and facts.parts,
            timeout_s=300,
        )

    def _bundle(self, platform: Platform, host: str) -> bundle.Bundle:
        """Build once for all hosts of a kind; the others wait."""
        with self._lock:
            if platform not in self._bundles:
                try:
                    self._bundles[platform] = bundle.build(platform)
                except OSError as error:
                    raise HostError(
                        host, f"its bundle can't be built: {error.strerror} ({error.filename})"
                    ) from error
            return self._bundles[platform]

    def start(self, shell: Shell, facts: Facts, place: Place) -> None:
        """See ``Backend.start``."""
        args = _control_args("start", facts, place)
        args |= {"former": _former(facts), "was": _standing(facts), "root_dir": place.root_dir}
        hostside.call(shell, "control", args, timeout_s=6 * _START_WITHIN_S)

    def stop(self, shell: Shell, facts: Facts, place: Place) -> None:
        """See ``Backend.stop``."""
        hostside.call(shell, "control", _control_args("stop", facts, place))

    def remove(self, shell: Shell, facts: Facts, place: Place) -> None:
        """See ``Backend.remove``."""
        self.stop(shell, facts, place)
        args = {
            "data_dir": place.data_dir,
            "socket": place.socket,
            "lock_file": place.lock_file,
            "node_id": _node_id(facts),
            "root_dir": "" if place.local else place.root_dir,
            "unit": place.unit if _under_systemd(facts, place) else "",
            "wrapper": "" if place.local else WRAPPER,
            "group": "" if place.local else GROUP,
        }
        hostside.call(shell, "remove", args, timeout_s=120)


def check_possible(facts: Facts, place: Place) -> None:
    """Raise HostError if the host can never run the runtime as it is."""
    if place.local:
        return
    if not facts.is_root:
        raise HostError(
            place.host,
            f"user {facts.user} is not root there: set ansible_become: true, or ansible_user: root",
        )
    if facts.system != "linux":
        raise HostError(place.host, f"its system is {facts.system}: the runtime needs Linux")
    if not facts.releases and facts.disk_free_bytes < _DISK_BYTES_MIN:
        raise HostError(
            place.host,
            f"only {facts.disk_free_bytes >> 20} MiB are free at {place.data_dir}: free at least "
            f"{_DISK_BYTES_MIN >> 20} MiB",
        )


def runtime_argv(python: str, place: Place) -> list[str]:
    """Return the daemon's command line."""
    argv = [python, "-m", "swarmops.runtime", "--data-dir", place.data_dir]
    argv += ["--socket", place.socket]
    if place.hostname is not None:
        argv += ["--hostname", place.hostname]
    return [*argv, "--log-level", place.log_level]


def unit_text(facts: Facts, place: Place) -> str:
    """Return the systemd unit of a node."""
    argv = runtime_argv(facts.python.executable, place)
    return f"""# Written by swarmops: the next apply writes it again.
[Unit]
Description=swarmops node
Wants=network-online.target
After=network-online.target docker.service podman.service
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
Environment=PYTHONPATH={place.root_dir}/current PYTHONUNBUFFERED=1
ExecStart={shlex.join(argv)}
Restart=always
RestartSec=1
WatchdogSec=30
TimeoutStartSec=60
TimeoutStopSec=20
# Tasks are the node's, not the daemon's: they survive its restart.
KillMode=process
Delegate=yes
RuntimeDirectory=swarmops
RuntimeDirectoryPreserve=restart
LimitNOFILE=65536
TasksMax=infinity
OOMScoreAdjust=-500

[Install]
WantedBy=multi-user.target
"""


def wrapper_text(facts: Facts, place: Place) -> str:
    """Return /usr/local/bin/swarmops of a host, so that its commands work there too."""
    return (
        "#!/bin/sh\n"
        f"export PYTHONPATH={shlex.quote(place.root_dir)}/current\n"
        f'exec {shlex.quote(facts.python.executable)} -m swarmops "$@"\n'
    )


def _under_systemd(facts: Facts, place: Place) -> bool:
    return facts.systemd and facts.is_root and not place.local


def _control_args(verb: str, facts: Facts, place: Place) -> dict[str, Any]:
    python = facts.python.executable
    code = (
        str(Path(swarmops.__file__).parent.parent) if place.local else f"{place.root_dir}/current"
    )
    supervisor = [python, "-m", "swarmops.supervisor", "--data-dir", place.data_dir, "--"]
    return {
        "verb": verb,
        "unit": place.unit if _under_systemd(facts, place) else "",
        "data_dir": place.data_dir,
        "socket": place.socket,
        "argv": [*supervisor, *runtime_argv(python, place)],
        "environment": {"PYTHONPATH": code, "PYTHONUNBUFFERED": "1"},
        "within_s": _START_WITHIN_S,
    }


def _node_id(facts: Facts) -> str:
    info = facts.api.info if facts.api else None
    swarm = (info or {}).get("Swarm") or {}
    return str(swarm.get("NodeID") or "")


def _former(facts: Facts) -> str:
    """Return the release to go back to, '' if there is none that worked."""
    release = facts.running_release or facts.current or ""
    return release if facts.running and release in facts.releases else ""


def _standing(facts: Facts) -> str:
    """Return what the node was in its swarm, as far as it was well: manager, worker or ''."""
    swarm = ((facts.api.info if facts.api else None) or {}).get("Swarm") or {}
    if swarm.get("LocalNodeState") != "active" or swarm.get("Error"):
        return ""
    return "manager" if swarm.get("ControlAvailable") else "worker"


def _why_runtime(facts: Facts, artifact: Artifact) -> str:
    if facts.current is None:
        return f"the runtime is not installed ({artifact.release})"
    if facts.current == artifact.release:
        return f"release {facts.current} is damaged"
    return f"release {facts.current} is there, {artifact.release} is wanted"


def _newer_version(facts: Facts) -> str:
    """Return the version that runs on the host if it is newer than this tool's, else ''."""
    told = str(((facts.api.info if facts.api else None) or {}).get("ServerVersion") or "")
    return told if _numbers(told) > _numbers(swarmops.__version__) else ""


def _numbers(version: str) -> tuple[int, ...]:
    """Return what versions are ordered by: the numbers before anything else, without last zeros."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    text = re.sub(r"(\.0)+$", "", found[0]) if found else ""
    return tuple(int(part) for part in text.split(".") if part)


def _why_process(facts: Facts) -> str:
    if facts.daemon_pid:
        return f"the runtime doesn't serve its socket ({facts.api_error or 'it is not there'})"
    if facts.unit is not None and facts.unit.digest:
        return f"the runtime is {facts.unit.active}"
    if facts.api_error:
        return f"the runtime doesn't answer ({facts.api_error})"
    return "the runtime is not started"
