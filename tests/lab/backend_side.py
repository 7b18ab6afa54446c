"""One side of the suite that runs on every backend: a swarm, asked with the docker CLI."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest

from tests.lab.hosts import Host, run_in
from tests.lab.swarm import NATIVE, SOCKETS, Swarm
from tests.lab.task_image import BUSYBOX

COUNT: Final = 4
BACKENDS: Final = [
    pytest.param(backend, marks=() if backend == NATIVE else pytest.mark.docker_swarm)
    for backend in SOCKETS
]
"""Every backend, as the parameters of a fixture."""


def service(replicas: int, said: str = "one") -> dict[str, object]:
    """Return a service of sleeping containers; `said` is something to change."""
    return {
        "image": BUSYBOX,
        "command": ["sleep", "1000"],
        "environment": {"SAID": said},
        "stop_grace_period": "1s",
        "deploy": {"replicas": replicas, "update_config": {"parallelism": 2, "delay": "0s"}},
    }


def playbook(managers: int, services: Mapping[str, object], **nodes: object) -> dict[str, object]:
    """Return a playbook of the suite."""
    return {
        "swarm": {"name": "suite", "managers": managers},
        "nodes": {"host2": {"labels": {"disk": "ssd"}}, **nodes},
        "services": services,
    }


class Side:
    """A swarm on one backend, asked with the docker CLI of its first manager that answers."""

    def __init__(self, swarm: Swarm, backend: str, spare: Sequence[Host] = ()) -> None:
        self.swarm = swarm
        self.backend = backend
        self.operator = swarm.operator
        self.spare = spare
        self.variables = {"swarmops_backend": backend}
        self.backup = swarm.inventory.with_name("all.swarmops-backup")
        self.phrase = swarm.inventory.with_name("phrase")

    def docker(self, *words: str) -> str:
        """Run the docker CLI on the first host whose node is a manager that answers."""
        said = ""
        for host in self.swarm.hosts:
            argv = ("docker", "-H", f"unix://{SOCKETS[self.backend]}", *words)
            done = run_in(host, "timeout", "20", *argv)
            if done.returncode == 0:
                return done.stdout.strip()
            said += f"{host.name}: {done.stderr}"
        raise AssertionError(said)

    def inspect(self, kind: str, name: str) -> Any:
        """Return what `docker <kind> inspect` says of one object."""
        return json.loads(self.docker(kind, "inspect", name))[0]

    def roles(self) -> dict[str, str]:
        """Return every node's role by its host's name."""
        return {
            f"host{n}": self.inspect("node", f"host{n}")["Spec"]["Role"]
            for n in range(1, COUNT + 1)
        }

    def said(self, name: str) -> list[str]:
        """Return the environment that a service wants."""
        spec = self.inspect("service", name)["Spec"]
        found: list[str] = spec["TaskTemplate"]["ContainerSpec"]["Env"]
        return found

    def inside(self, path: str, stack: str = "shop") -> set[str]:
        """Return what a file has in the running containers of a stack, on whatever host."""
        find = f"docker ps -q --filter label=com.docker.stack.namespace={stack}"
        script = f"for one in $({find}); do docker exec $one cat {path}; echo; done"
        said = [run_in(host, "sh", "-c", script).stdout for host in self.swarm.hosts]
        return {line for text in said for line in text.splitlines() if line}

    def names(self, kind: str) -> list[str]:
        """Return the names that `docker <kind> ls` lists."""
        return sorted(self.docker(kind, "ls", "--format", "{{.Name}}").splitlines())

    def running(self, name: str = "app") -> list[str]:
        """Return the hosts of the service's running tasks."""
        form = "{{.Node}} {{.CurrentState}}"
        listed = self.docker(
            "service", "ps", name, "--filter", "desired-state=running", "--format", form
        )
        pairs = [line.split(" ", 1) for line in listed.splitlines()]
        return sorted(node for node, state in pairs if state.startswith("Running"))
