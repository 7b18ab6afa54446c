"""The ``docker`` backend: Docker Engine's own swarm mode, driven by the same playbooks.

Called by the fleet through ``base.Backend``. A host needs a Docker Engine; where the inventory
asks for it (``swarmops_install_docker``) it is installed from the distribution's packages. What
else the engine runs (containers, images, volumes, networks) is never touched, and the engine
stays when the swarm goes.
"""

from __future__ import annotations

from typing import Any

from swarmops.backends import hostside
from swarmops.backends.base import Artifact, Facts, Home, Missing, Place, Shell
from swarmops.errors import HostError

_ANSWERS_WITHIN_S = 25.0
"""A manager waits 20 s for a leader before it answers, ``/info`` too: one that boots may wait, and
one without a majority does."""
_INSTALL_WITHIN_S = 600.0
_START_WITHIN_S = 60.0


class DockerBackend:
    """See ``base.Backend``."""

    name = "docker"
    home = Home(
        socket="/var/run/docker.sock",
        data_dir="/var/lib/docker/swarm",
        unit="docker.service",
        answers_within_s=_ANSWERS_WITHIN_S,
    )

    def artifact(self, facts: Facts, place: Place) -> Artifact:  # noqa: ARG002 - the contract's
        """See ``Backend.artifact``: the engine is the distribution's, nothing is sent."""
        return Artifact("")

    def missing(self, facts: Facts, place: Place, artifact: Artifact) -> tuple[Missing, ...]:  # noqa: ARG002 - the contract's
        """See ``Backend.missing``."""
        _check_possible(facts, place)
        found = []
        if not facts.engine:
            found.append(Missing("runtime", "Docker Engine is not installed"))
        if facts.systemd and not (facts.unit and facts.unit.enabled):
            found.append(Missing("unit", f"{place.unit} is not enabled"))
        if not facts.running:
            found.append(Missing("process", _why_process(facts)))
        return tuple(found)

    def install(self, shell: Shell, facts: Facts, place: Place, artifact: Artifact) -> None:  # noqa: ARG002 - the contract's
        """See ``Backend.install``: the packages where they are wanted, and the unit enabled."""
        self._call(shell, facts, place, "install", _INSTALL_WITHIN_S)

    def start(self, shell: Shell, facts: Facts, place: Place) -> None:
        """See ``Backend.start``."""
        self._call(shell, facts, place, "start", 2 * _START_WITHIN_S)

    def stop(self, shell: Shell, facts: Facts, place: Place) -> None:
        """See ``Backend.stop``, but that Docker's containers end with their engine."""
        self._call(shell, facts, place, "stop", 2 * _START_WITHIN_S)

    def remove(self, shell: Shell, facts: Facts, place: Place) -> None:
        """See ``Backend.remove``: the host leaves its swarm; its engine was there before us."""
        if facts.running:
            self._call(shell, facts, place, "leave", 2 * _START_WITHIN_S)

    def _call(self, shell: Shell, facts: Facts, place: Place, verb: str, timeout_s: float) -> None:
        args: dict[str, Any] = {
            "verb": verb,
            "unit": place.unit if facts.systemd else "",
            "socket": place.socket,
            "packages": not facts.engine,
            "within_s": _START_WITHIN_S,
        }
        hostside.call(shell, "engine", args, timeout_s=timeout_s)


def _check_possible(facts: Facts, place: Place) -> None:
    """Raise HostError if the host can't be made a node of Docker's swarm mode."""
    if not facts.is_root and not facts.running:
        raise HostError(
            place.host,
            f"user {facts.user} can't reach {place.socket} there: set ansible_become: true, or"
            " ansible_user: root",
        )
    if not facts.engine and not facts.running and not place.install_docker:
        raise HostError(
            place.host,
            "Docker Engine is not installed there: install it, or set swarmops_install_docker:"
            " true to have the distribution's package installed",
        )
    if not facts.running and not facts.systemd and facts.engine:
        raise HostError(
            place.host,
            "its Docker Engine doesn't answer, and without systemd swarmops can't start it: start"
            " it there",
        )
    info = (facts.api.info if facts.api else None) or {}
    if info.get("LiveRestoreEnabled"):
        raise HostError(
            place.host,
            "its engine has live-restore on, which Docker refuses in a swarm: take"
            " 'live-restore' out of /etc/docker/daemon.json and restart Docker there",
        )


def _why_process(facts: Facts) -> str:
    if facts.api_error:
        return f"Docker Engine doesn't answer ({facts.api_error})"
    if facts.unit is not None and facts.engine:
        return f"Docker Engine is {facts.unit.active}"
    return "Docker Engine is not started"
