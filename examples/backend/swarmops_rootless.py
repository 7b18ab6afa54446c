"""A backend in one page: a Docker Engine that runs rootless, as the user `ops` of each host.

`swarmops.backends.base` says what each method promises. Facts of a host are gathered by swarmops;
a backend decides what it lacks, and acts through the shell that it is given.
"""

from __future__ import annotations

from swarmops.backends.base import Artifact, Facts, Home, Missing, Place, Shell, require
from swarmops.errors import HostError

USER = "ops"
UID = 1000
AS_USER = f"systemctl --user --machine={USER}@"


class RootlessDocker:
    """Nodes are the users' own engines, kept running by their own systemd."""

    name = "rootless"
    home = Home(
        socket=f"/run/user/{UID}/docker.sock",
        data_dir=f"/home/{USER}/.local/share/docker/swarm",
        unit="docker.service",
        answers_within_s=25.0,  # a manager of Docker's that looks for a leader answers after 20 s
    )

    def artifact(self, facts: Facts, place: Place) -> Artifact:
        """Nothing is sent: the engine is the host's."""
        del facts, place
        return Artifact("")

    def missing(self, facts: Facts, place: Place, artifact: Artifact) -> tuple[Missing, ...]:
        """Its socket answers, or it has to be started."""
        del artifact
        if not facts.is_root:
            raise HostError(place.host, f"user {facts.user} can't act for {USER}: become root")
        if not facts.engine:
            raise HostError(place.host, "Docker Engine is not installed there: install it")
        return () if facts.running else (Missing("process", "the rootless engine doesn't answer"),)

    def install(self, shell: Shell, facts: Facts, place: Place, artifact: Artifact) -> None:
        """There is nothing to bring."""

    def start(self, shell: Shell, facts: Facts, place: Place) -> None:
        """Start the user's unit, and let it live without a login."""
        del facts
        script = f"loginctl enable-linger {USER} && {AS_USER} enable --now {place.unit}"
        require(shell.run(script, timeout_s=60), place.host, "starting the rootless engine")

    def stop(self, shell: Shell, facts: Facts, place: Place) -> None:
        """Stop the user's unit."""
        del facts
        script = f"{AS_USER} stop {place.unit}"
        require(shell.run(script, timeout_s=60), place.host, "stopping the rootless engine")

    def remove(self, shell: Shell, facts: Facts, place: Place) -> None:
        """Leave the swarm; the engine was there before us."""
        if facts.running:
            script = f"docker -H unix://{place.socket} swarm leave --force || true"
            require(shell.run(script, timeout_s=60), place.host, "leaving the swarm")
