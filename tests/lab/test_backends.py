"""One suite for every backend: the same inventory, playbooks and commands on each of them.

Looks through the Docker API of the backend's own socket only. Containers on both: Docker's swarm
mode has nothing else.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from tests.lab.hosts import Host, run_in
from tests.lab.lab import Lab
from tests.lab.swarm import Swarm, ask, drawn
from tests.lab.task_image import BUSYBOX, import_busybox
from tests.lab.waiting import wait_for

SOCKETS = {"native": "/run/swarmops/swarmops.sock", "docker": "/run/docker.sock"}
COUNT = 4
SPARE = 2
"""Hosts beside those, which never hear of the swarm before it is restored on them."""
PHRASE = "correct horse"


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

    def running(self, name: str = "app") -> list[str]:
        """Return the hosts of the service's running tasks."""
        form = "{{.Node}} {{.CurrentState}}"
        listed = self.docker(
            "service", "ps", name, "--filter", "desired-state=running", "--format", form
        )
        pairs = [line.split(" ", 1) for line in listed.splitlines()]
        return sorted(node for node, state in pairs if state.startswith("Running"))


@pytest.fixture(scope="module", params=list(SOCKETS))
def side(
    request: pytest.FixtureRequest, lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Side]:
    """Four hosts with an engine; the first test makes them a swarm. Two more are spare."""
    with lab.claim(COUNT + SPARE) as claimed:
        import_busybox(claimed)
        hosts = claimed[:COUNT]
        swarm = drawn(hosts, tmp_path_factory, f"backend-{request.param}")
        side = Side(swarm, request.param, claimed[COUNT:])
        swarm.write(
            playbook(3, {"app": service(4)}),
            managers=hosts[:3],
            workers=hosts,
            variables=side.variables,
        )
        yield side


def test_apply_forms_the_swarm_and_again_does_nothing(side: Side) -> None:
    """Three managers, a worker, a label and four containers; then the plan is empty."""
    done = side.swarm.apply()
    assert "4/4" in done.out
    assert side.roles() == {
        "host1": "manager",
        "host2": "manager",
        "host3": "manager",
        "host4": "worker",
    }
    assert side.inspect("node", "host2")["Spec"]["Labels"]["disk"] == "ssd"
    assert len(side.running()) == 4
    side.operator.run("plan", side.swarm.inventory, rc=0)


def test_status_shows_hosts_nodes_and_services(side: Side) -> None:
    """`swarmops status` has every host, with its runtime running, and the service."""
    said = json.loads(side.operator.run("status", "--format", "json", rc=0).out)
    assert {row["host"] for row in said["hosts"]} == {f"host{n}" for n in range(1, COUNT + 1)}
    assert [row["name"] for row in said["services"]] == ["app"]


def test_a_changed_service_is_updated_and_only_it(side: Side) -> None:
    """A variable changes in the playbook: the plan has one step, the tasks get it."""
    side.swarm.play(playbook(3, {"app": service(4, "two")}))
    planned = side.operator.run("plan", side.swarm.inventory, rc=2)
    assert "SAID" in planned.out
    side.swarm.apply()
    spec = side.inspect("service", "app")["Spec"]
    assert spec["TaskTemplate"]["ContainerSpec"]["Env"] == ["SAID=two"]
    side.operator.run("plan", side.swarm.inventory, rc=0)


def test_one_apply_at_a_time(side: Side) -> None:
    """While somebody has the swarm's lock, apply does nothing, exits 4 and says who and why."""
    socket = SOCKETS[side.backend]
    host = side.swarm["host1"]
    _, found = ask(host, "GET", "/swarm", socket=socket)
    lock = {"id": "x", "owner": "ann@desk", "reason": "ticket 7", "ttl_s": 600}
    lock |= {"since_s": time.time(), "renewed_s": time.time()}
    labels = {**(found["Spec"].get("Labels") or {}), "swarmops.lock": json.dumps(lock)}
    path = f"/swarm/update?version={found['Version']['Index']}"
    changed = {**found["Spec"], "Labels": labels}
    assert ask(host, "POST", path, changed, socket=socket)[0] == 200
    side.swarm.play(playbook(3, {"app": service(4, "three")}))
    (error,) = side.swarm.apply(rc=4).errors
    assert "ann@desk since" in error
    assert "ticket 7" in error
    side.operator.run("unlock-apply", "--reason", "ann went home")
    side.swarm.apply()
    _, found = ask(host, "GET", "/swarm", socket=socket)
    assert found["Spec"]["Labels"]["swarmops.lock"] == ""
    assert "ann went home" in found["Spec"]["Labels"]["swarmops.lock.freed"]
    side.swarm.play(playbook(3, {"app": service(4, "two")}))
    side.swarm.apply()


def test_one_offs_scale_drain_and_activate(side: Side) -> None:
    """`service scale`, `node drain` and `node activate` do it and wait for it."""
    side.operator.run("service", "scale", "app=6", rc=0)
    wait_for(lambda: len(side.running()) == 6, "six running tasks", within_s=30)
    side.operator.run("node", "drain", "host4", rc=0)
    assert "host4" not in side.running()
    side.operator.run("node", "activate", "host4", rc=0)
    assert side.inspect("node", "host4")["Spec"]["Availability"] == "active"


def test_roles_follow_the_playbook(side: Side) -> None:
    """Three managers become one and three again, through promotion and demotion alone."""
    side.swarm.play(playbook(1, {"app": service(4, "two")}))
    side.swarm.apply()
    assert sorted(side.roles().values()) == ["manager", "worker", "worker", "worker"]
    side.swarm.play(playbook(3, {"app": service(4, "two")}))
    side.swarm.apply()
    assert sorted(side.roles().values()) == ["manager", "manager", "manager", "worker"]
    side.operator.run("plan", side.swarm.inventory, rc=0)


def test_a_node_that_left_is_taken_in_again(side: Side) -> None:
    """Somebody makes a worker leave: the next apply joins it and forgets the old node."""
    host = side.swarm["host4"]
    run_in(host, "docker", "-H", f"unix://{SOCKETS[side.backend]}", "swarm", "leave")
    side.swarm.apply()
    listed = side.docker("node", "ls", "--format", "{{.Hostname}} {{.Status}}").splitlines()
    assert sorted(listed) == [f"host{n} Ready" for n in range(1, COUNT + 1)]


def test_a_backup_is_taken(side: Side) -> None:
    """Of services, networks and nodes; it says what it holds, but not to whom lacks the phrase."""
    side.docker("network", "create", "--driver", "overlay", "--label", "a=b", "back")
    side.phrase.write_text(PHRASE)
    words = ("backup", "create", side.backup, "--passphrase-file", side.phrase)
    said = side.operator.run(*words, rc=0).out
    assert f"1 services, 0 secrets, 0 configs, 1 networks, {COUNT} nodes" in said
    assert b"busybox" not in side.backup.read_bytes()


def test_destroy_leaves_no_swarm_and_the_engine_as_it_was(side: Side) -> None:
    """No container of a task, no swarm; the Docker Engine that was there still answers."""
    side.operator.run("destroy", "--yes", rc=0)
    for host in side.swarm.hosts:
        state = run_in(host, "docker", "info", "--format", "{{.Swarm.LocalNodeState}}").stdout
        assert state.strip() == "inactive"
        wait_for(
            lambda host=host: not run_in(host, "docker", "ps", "-q").stdout.strip(),  # type: ignore[misc]
            f"no container on {host.name}",
            within_s=20,
        )


def test_the_backup_comes_back_on_other_hosts(
    side: Side, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nothing of the old swarm is left: new machines bear its names, and the same service runs."""
    hosts = [
        msgspec.structs.replace(host, name=f"host{number}")
        for number, host in enumerate(side.spare, 1)
    ]
    restored = drawn(hosts, tmp_path_factory, f"restored-{side.backend}")
    wanted = playbook(1, {"app": service(4, "two")})
    restored.write(wanted, managers=hosts[:1], workers=hosts, variables=side.variables)
    words = (side.backup, restored.inventory, "--passphrase-file", side.phrase)
    said = restored.operator.run("backup", "restore", *words, rc=0).out
    assert "service app: restored" in said
    there = Side(restored, side.backend)
    wait_for(lambda: len(there.running()) == 4, "four running tasks", within_s=30)
    assert set(there.running()) == {host.name for host in side.spare}
    assert there.inspect("node", side.spare[1].name)["Spec"]["Labels"]["disk"] == "ssd"
    assert there.inspect("network", "back")["Labels"] == {"a": "b"}
    restored.operator.run("plan", restored.inventory, rc=0)
