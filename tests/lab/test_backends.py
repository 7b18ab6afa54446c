"""One suite for every backend: the same inventory, playbooks and commands on each of them.

Looks through the Docker API of the backend's own socket only. Containers on both: Docker's swarm
mode has nothing else.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.lab.backend_side import BACKENDS, COUNT, Side, playbook, service
from tests.lab.hosts import run_in
from tests.lab.killing import SENT, killed, planned
from tests.lab.lab import Lab
from tests.lab.swarm import SOCKETS, ask, drawn
from tests.lab.task_image import BUSYBOX, import_busybox
from tests.lab.waiting import wait_for

SPARE = 2
"""Hosts beside those, which never hear of the swarm before it is restored on them."""
PHRASE = "correct horse"
STACK = f"""
services:
  web:
    image: {BUSYBOX}
    command: [sleep, "1000"]
    stop_grace_period: 1s
    secrets: [token]
    configs: [{{source: page, target: /page}}]
    networks: [front]
    deploy: {{replicas: 2, update_config: {{delay: 0s, monitor: 1s}}}}
networks: {{front: {{attachable: true}}}}
secrets: {{token: {{file: token}}}}
configs: {{page: {{file: page}}}}
"""


@pytest.fixture(scope="module", params=BACKENDS)
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


def test_the_operators_commands_know_the_swarm(side: Side) -> None:
    """`doctor`, `exec`, `logs`, and Docker's own command through `tunnel`, also `--to` one host."""
    side.operator.run("doctor", rc=0)
    assert "host4" in side.operator.run("exec", "host4", "--", "hostname", rc=0).out
    assert side.operator.run("logs", "host2", "-n", "3", rc=0).out
    for to in ((), ("--to", "host3")):
        words = ("tunnel", *to, "--", "docker", "node", "ls", "--format", "{{.Hostname}}")
        listed = side.operator.run(*words, rc=0).out.split()
        assert sorted(listed) == [f"host{n}" for n in range(1, COUNT + 1)]


def test_a_watch_corrects_what_somebody_changed(side: Side) -> None:
    """One round; what it corrected is named."""
    side.operator.run("node", "drain", "host4", rc=0)
    side.operator.run("service", "scale", "app=1", rc=0)
    done = side.operator.run("watch", side.swarm.inventory, "--interval", "1s", "--rounds", "1")
    assert "away from the playbook: corrected" in done.out
    wait_for(lambda: len(side.running()) == 4, "four running tasks", within_s=30)
    side.operator.run("node", "activate", "host4", rc=0)
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


def test_a_node_that_left_is_taken_in_again(side: Side) -> None:
    """Somebody makes a worker leave: the next apply joins it and forgets the old node."""
    host = side.swarm["host4"]
    run_in(host, "docker", "-H", f"unix://{SOCKETS[side.backend]}", "swarm", "leave")
    side.swarm.apply()
    listed = side.docker("node", "ls", "--format", "{{.Hostname}} {{.Status}}").splitlines()
    assert sorted(listed) == [f"host{n} Ready" for n in range(1, COUNT + 1)]


def test_hooks_jobs_and_drains_are_the_playbooks(side: Side) -> None:
    """A hook on a host comes before, one here after; a job ends; the drained host is empty."""
    here, there = side.swarm.inventory.with_name("said"), "/tmp/said"
    run_in(side.swarm["host3"], "rm", "-f", there)
    before = {"command": ["sh", "-c", f"echo before > {there}"], "hosts": "host3"}
    deploy = {"mode": "replicated-job", "replicas": 2}
    job: dict[str, object] = {"image": BUSYBOX, "command": ["true"], "deploy": deploy}
    services = {"app": service(4, "two"), "once": job}
    wanted = playbook(3, services, host4={"availability": "drain"})
    after = {"command": ["sh", "-c", "echo after > said"]}
    side.swarm.play({**wanted, "hooks": {"before": [before], "after": [after]}})
    side.swarm.apply()
    assert run_in(side.swarm["host3"], "cat", there).stdout == "before\n"
    assert here.read_text() == "after\n"
    assert "host4" not in side.running()
    ended = side.docker("service", "ps", "once", "--format", "{{.CurrentState}}").splitlines()
    assert [state.split()[0] for state in ended] == ["Complete"] * 2
    side.operator.run("plan", side.swarm.inventory, rc=0)
    side.operator.run("node", "activate", "host4", rc=0)
    side.docker("service", "rm", "once")


def test_of_two_applies_at_once_the_second_is_told_of_the_first(side: Side) -> None:
    """The first is held in a hook; killed there with -9, it holds up nobody."""
    gate = side.swarm.inventory.with_name("gate")
    os.mkfifo(gate)
    hooks = {"before": [{"command": ["cat", "gate"], "timeout": "150s"}]}
    side.swarm.play({**playbook(3, {"app": service(4, "three")}), "hooks": hooks})
    with side.operator.start("apply", "--yes", side.swarm.inventory) as first:
        end = wait_for(lambda: writing_end(gate), "the hook of the first apply", within_s=120)
        assert end is not None
        try:
            (error,) = side.swarm.apply(rc=4).errors
            assert "the swarm is locked by" in error
            first.kill()
            first.communicate(timeout=60)
        finally:
            os.close(end)
    side.swarm.play(playbook(3, {"app": service(4, "three")}))
    side.swarm.apply()
    assert side.said("app") == ["SAID=three"]
    side.operator.run("plan", side.swarm.inventory, rc=0)


def writing_end(gate: Path) -> int | None:
    """Return an open end of a pipe that somebody reads, None while nobody does."""
    try:
        return os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def test_an_apply_killed_in_a_step_is_finished_by_the_next(side: Side) -> None:
    """Its change had gone out, and it never learned how that ended."""
    side.swarm.play(playbook(3, {"app": service(4, "two")}))
    (step,) = planned(side.swarm)
    killed(side.swarm, step, SENT)
    side.swarm.apply()
    assert side.said("app") == ["SAID=two"]
    side.operator.run("plan", side.swarm.inventory, rc=0)


def with_shop(**more: object) -> dict[str, object]:
    """Return the suite's playbook with the stack."""
    wanted = playbook(3, {"app": service(4, "two")})
    return {**wanted, "stacks": {"shop": "shop.yml"}, **more}


def test_a_stack_has_its_secret_config_and_network(side: Side) -> None:
    """A Compose file as it is; its containers read both files, and the plan is empty again."""
    folder = side.swarm.inventory.parent
    for name, text in (("shop.yml", STACK), ("token", "sesame"), ("page", "first")):
        (folder / name).write_text(text)
    side.swarm.play(with_shop())
    side.swarm.apply()
    assert len(side.running("shop_web")) == 2
    assert (side.inside("/run/secrets/token"), side.inside("/page")) == ({"sesame"}, {"first"})
    assert side.inspect("network", "shop_front")["Attachable"] is True
    side.operator.run("plan", side.swarm.inventory, rc=0)


def test_changed_content_is_rotated(side: Side) -> None:
    """The containers get the new versions, and the old ones are gone, all in one apply."""
    folder = side.swarm.inventory.parent
    (folder / "token").write_text("open barley")
    (folder / "page").write_text("second")
    side.swarm.apply()
    assert (side.inside("/run/secrets/token"), side.inside("/page")) == (
        {"open barley"},
        {"second"},
    )
    assert (side.names("secret"), side.names("config")) == (["shop_token.v2"], ["shop_page.v2"])
    side.operator.run("plan", side.swarm.inventory, rc=0)


def test_a_backup_is_taken(side: Side) -> None:
    """It says what it holds, but not to whom lacks the phrase; Docker never reveals a secret."""
    side.docker("network", "create", "--driver", "overlay", "--label", "a=b", "back")
    side.phrase.write_text(PHRASE)
    words = ("backup", "create", side.backup, "--passphrase-file", side.phrase)
    done = side.operator.run(*words, rc=0)
    secrets = 1 if side.backend == "native" else 0
    assert f"2 services, {secrets} secrets, 1 configs, 2 networks, {COUNT} nodes" in done.out
    assert b"busybox" not in side.backup.read_bytes()
    told = ["the content of secret shop_token.v2 is not in it: this backend never reveals it"]
    assert done.warnings == ([] if secrets else told)


def test_what_the_playbook_has_no_more_is_pruned(side: Side) -> None:
    """Only with `prune`, and only once somebody said yes; its versions go with it."""
    without = with_shop()
    del without["stacks"]
    side.swarm.play(without)
    side.operator.run("plan", side.swarm.inventory, rc=0)
    side.swarm.play({**without, "prune": True})
    (error,) = side.operator.run("apply", side.swarm.inventory, rc=1).errors
    assert "--yes" in error
    assert side.names("service") == ["app", "shop_web"]
    side.swarm.apply()
    assert side.names("service") == ["app"]


def test_the_leader_is_taken_out_of_a_swarm_that_goes_on(side: Side) -> None:
    """`destroy --limit`: it hands over, is demoted, leaves and is forgotten; apply takes it in."""
    form = "{{.Hostname}} {{.ManagerStatus}}"
    listed = side.docker("node", "ls", "--format", form).splitlines()
    (leader,) = [line.split()[0] for line in listed if line.endswith("Leader")]
    side.operator.run("destroy", "--yes", "--limit", leader, side.swarm.inventory)
    left = side.docker("node", "ls", "--format", form).splitlines()
    assert leader not in {line.split()[0] for line in left}
    assert len(left) == COUNT - 1
    wait_for(lambda: len(side.running()) == 4, "four running tasks", within_s=30)
    side.swarm.apply()
    assert sorted(side.roles().values()) == ["manager", "manager", "manager", "worker"]
    side.operator.run("plan", side.swarm.inventory, rc=0)


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
    """Nothing of the old swarm is left: new machines bear its names, and the same services run.

    What the backup can't hold is asked for, and the same command goes on once it is there.
    """
    hosts = [
        msgspec.structs.replace(host, name=f"host{number}")
        for number, host in enumerate(side.spare, 1)
    ]
    restored = drawn(hosts, tmp_path_factory, f"restored-{side.backend}")
    wanted = playbook(1, {"app": service(4, "two")})
    restored.write(wanted, managers=hosts[:1], workers=hosts, variables=side.variables)
    words = (side.backup, restored.inventory, "--passphrase-file", side.phrase)
    there = Side(restored, side.backend)
    if side.backend == "native":
        done = restored.operator.run("backup", "restore", *words, rc=0)
    else:
        done = restored.operator.run("backup", "restore", *words, rc=1)
        assert done.errors == [
            "secret shop_token.v2: its content is not in the backup: Docker never reveals it",
            "service shop_web: it needs the secret 'shop_token.v2', which is not there",
        ]
        docker = f"docker -H unix://{SOCKETS[side.backend]}"
        create = f"printf %s 'open barley' | {docker} secret create shop_token.v2 -"
        assert run_in(hosts[0], "sh", "-c", create).returncode == 0
        again = restored.operator.run("backup", "restore", *words, rc=0)
        assert "service shop_web: restored" in again.out
    assert "service app: restored" in done.out
    wait_for(lambda: len(there.running("shop_web")) == 2, "the stack's tasks", within_s=30)
    assert there.inside("/run/secrets/token") == {"open barley"}
    wait_for(lambda: len(there.running()) == 4, "four running tasks", within_s=30)
    assert set(there.running()) == {host.name for host in side.spare}
    assert there.inspect("node", side.spare[1].name)["Spec"]["Labels"]["disk"] == "ssd"
    assert there.inspect("network", "back")["Labels"] == {"a": "b"}
    restored.operator.run("plan", restored.inventory, rc=0)
