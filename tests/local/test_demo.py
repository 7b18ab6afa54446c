"""The demo's promises: a real swarm on this machine, from one command, without root or Docker.

The tests run in the order of the file, on one swarm, each leaving it whole.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import urllib.request

import pytest

from tests.local.addresses import node_address
from tests.local.conftest import Local, command_lines, wait_for

NODES = ["node1", "node2", "node3", "node4", "node5"]


def running(swarm: Local) -> dict[str, str]:
    """Where the tasks that run are: task name → node."""
    return {
        task["name"].strip().removeprefix("\\_ "): task["node"]
        for task in swarm.tasks("web")
        if task["desired_state"] == "Running" and task["current_state"].startswith("Running")
    }


def web_pid(address: str) -> int:
    """The process that serves a node's web page."""
    wanted = f"http.server 8080 --bind {address}"
    return next((pid for pid, command in command_lines() if wanted in command), 0)


def answers(address: str) -> bool:
    """Whether a web server answers there."""
    try:
        with urllib.request.urlopen(f"http://{address}:8080/", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def leader(swarm: Local) -> str:
    """The host that leads, as far as the others know."""
    return next(n for n, row in swarm.nodes().items() if row["manager_status"] == "Leader")


def test_one_command_makes_three_managers_a_drained_worker_and_four_web_servers(swarm: Local):
    """Roles, availability and replicas are the playbook's, and each server answers HTTP."""
    nodes = swarm.nodes()
    assert {name: row["role"] for name, row in nodes.items()} == {
        "node1": "manager",
        "node2": "manager",
        "node3": "manager",
        "node4": "worker",
        "node5": "worker",
    }
    assert nodes["node5"]["availability"] == "Drain"
    assert sorted(running(swarm).values()) == ["node1", "node2", "node3", "node4"]
    for number in range(1, 5):
        wait_for(lambda n=number: answers(node_address(n)), "a web server")  # type: ignore[misc]


def test_applying_again_does_nothing_and_says_so(swarm: Local):
    """And plan agrees: exit code 0."""
    again = swarm.swarmops("apply", str(swarm.inventory))
    assert "Nothing needs doing" in again.stdout
    assert "doing" not in again.stderr
    swarm.swarmops("plan", str(swarm.inventory), expect=0)


def test_a_changed_playbook_is_planned_with_exit_code_2_and_applied(swarm: Local):
    """Three servers instead of four, and back."""
    before = swarm.playbook.read_text()
    swarm.playbook.write_text(before.replace("replicas: 4", "replicas: 3"))
    plan = swarm.swarmops("plan", expect=2)
    assert "web" in plan.stdout
    swarm.swarmops("apply", str(swarm.inventory))
    wait_for(lambda: len(running(swarm)) == 3, "three servers")
    swarm.playbook.write_text(before)
    swarm.swarmops("apply", str(swarm.inventory))
    wait_for(lambda: len(running(swarm)) == 4, "four servers")


def test_the_docker_command_works_on_a_managers_socket(swarm: Local):
    """Version, info, nodes, services, tasks; a worker answers as Docker's worker does."""
    assert "swarmops" in swarm.docker("node2", "version").stdout
    info = swarm.docker("node2", "info", "--format", "{{.Swarm.Managers}}/{{.Swarm.Nodes}}")
    assert info.stdout.strip() == "3/5"
    names = swarm.docker("node3", "node", "ls", "--format", "{{.Hostname}}").stdout.split()
    assert sorted(names) == NODES
    listed = swarm.docker("node1", "service", "ls", "--format", "{{.Name}} {{.Replicas}}")
    assert listed.stdout.startswith("web 4/4")
    refused = swarm.docker("node4", "node", "ls", expect=1)
    assert "Worker nodes can't be used to view or modify cluster state" in refused.stderr


def test_a_daemon_killed_with_9_comes_back_to_the_tasks_it_had(swarm: Local):
    """The web server goes on in the same process, and is known again."""
    server = web_pid(node_address(4))
    tasks = running(swarm)
    swarm.kill_daemon("node4")
    wait_for(lambda: swarm.nodes()["node4"]["status"] == "Ready", "a ready node")
    assert web_pid(node_address(4)) == server
    assert answers(node_address(4))
    assert running(swarm) == tasks


def test_when_the_leader_is_killed_another_manager_takes_the_next_write(swarm: Local):
    """No help is needed, and the killed one comes back as a manager."""
    killed = leader(swarm)
    other = next(n for n in ("node1", "node2", "node3") if n != killed)
    os.kill(swarm.daemon_pid(killed), signal.SIGKILL)
    swarm.docker(other, "service", "update", "-d", "--label-add", f"after={killed}", "web")
    wait_for(
        lambda: swarm.nodes()[killed]["manager_status"] in ("Reachable", "Leader"),
        "the killed manager",
    )


def test_a_task_that_dies_is_replaced_in_its_slot(swarm: Local):
    """After the restart delay, with the failure kept in the history."""
    os.kill(web_pid(node_address(4)), signal.SIGKILL)
    wait_for(
        lambda: any(task["current_state"].startswith("Failed") for task in swarm.tasks("web")),
        "the failure",
    )
    wait_for(lambda: len(running(swarm)) == 4, "the replacement")


def test_roles_and_availability_change_by_one_word_from_anywhere(swarm: Local):
    """With no inventory named; a one-off that contradicts the playbook says so."""
    demoted = swarm.swarmops("node", "demote", "node3")
    assert "the next apply promotes it again" in demoted.stdout + demoted.stderr
    assert swarm.nodes()["node3"]["role"] == "worker"
    swarm.swarmops("node", "promote", "node4")
    assert swarm.nodes()["node4"]["manager_status"] == "Reachable"
    swarm.swarmops("node", "drain", "node1")
    wait_for(lambda: "node1" not in running(swarm).values(), "an empty node")
    swarm.swarmops("node", "activate", "node1")
    swarm.swarmops("apply", str(swarm.inventory))
    nodes = swarm.nodes()
    assert [nodes[n]["role"] for n in NODES] == ["manager"] * 3 + ["worker"] * 2
    assert nodes["node1"]["availability"] == "Active"


def test_a_drain_leaves_nothing_and_a_rebalance_gives_the_node_its_share_again(swarm: Local):
    """What found no other node is named; the rebalance moves the fewest, and is no change to apply.

    Asked of whichever manager answers, which need not lead.
    """
    swarm.swarmops("service", "create", "--name", "even", "--replicas", "8", "host", "sleep", "1e6")
    drained = swarm.swarmops("node", "drain", "--wait", "--timeout", "30s", "node2")
    assert drained.stdout == "node2 is now drained.\n"
    assert "runs nowhere: no suitable node (" in drained.stderr  # a server: one a node
    listed = swarm.swarmops("node", "ps", "node2", "--format", "json").stdout
    assert not [task for task in json.loads(listed) if task["current_state"].startswith("Running")]
    swarm.swarmops("node", "activate", "node2")
    wait_for(lambda: len(running(swarm)) == 4, "four servers")
    done = swarm.swarmops("-i", str(swarm.inventory), "service", "rebalance", "even")
    spread = ", ".join(f"2 on node{number}" for number in range(1, 5))
    assert done.stdout == f"even: 2 tasks moved; {spread}.\n"
    assert "already" in swarm.swarmops("service", "rebalance", "even").stdout
    assert "Nothing needs doing" in swarm.swarmops("apply", str(swarm.inventory)).stdout
    swarm.swarmops("service", "rm", "even")


def test_the_last_manager_cant_be_demoted(swarm: Local):
    """Docker's message, exit code 1, nothing changed."""
    swarm.swarmops("node", "demote", "node2")
    swarm.swarmops("node", "demote", "node3")
    refused = swarm.swarmops("node", "demote", "node1", expect=1)
    assert "attempting to demote the last manager of the swarm" in refused.stderr
    swarm.swarmops("apply", str(swarm.inventory))
    assert sum(row["role"] == "manager" for row in swarm.nodes().values()) == 3


def test_with_all_managers_gone_the_tasks_run_on_and_are_found_again(swarm: Local):
    """The same processes, before and after."""
    wait_for(lambda: len(running(swarm)) == 4, "four servers")
    servers = {n: web_pid(node_address(n)) for n in range(1, 5)}
    assert all(servers.values())
    for node in ("node1", "node2", "node3"):
        os.kill(swarm.daemon_pid(node), signal.SIGKILL)
    assert {n: web_pid(node_address(n)) for n in range(1, 5)} == servers
    wait_for(swarm.all_ready, "ready nodes")
    assert {n: web_pid(node_address(n)) for n in range(1, 5)} == servers
    assert len(running(swarm)) == 4


def test_who_may_not_join_is_told_why_and_leaves_no_node_behind(swarm: Local):
    """A wrong token in Docker's words, a manager whose port is taken by its name.

    A worker may still join.
    """
    token = swarm.docker("node1", "swarm", "join-token", "-q", "manager").stdout.strip()
    swarm.docker("node5", "swarm", "leave")
    before = swarm.docker("node1", "node", "ls", "-q").stdout

    def refused(token: str) -> str:
        listen = f"--listen-addr={node_address(5)}:2377"
        command = ["swarm", "join", f"--token={token}", listen, f"{node_address(1)}:2377"]
        return swarm.docker("node5", *command, expect=1).stderr

    wrong = token[:-1] + ("1" if token[-1] == "0" else "0")
    assert refused(wrong).strip() == (
        "Error response from daemon: rpc error: code = InvalidArgument desc = "
        "A valid join token is necessary to join this cluster"
    )
    with socket.create_server((node_address(5), 2377)):
        assert f"listen tcp {node_address(5)}:2377: bind: address already in use" in refused(token)
    assert swarm.docker("node1", "node", "ls", "-q").stdout == before
    swarm.swarmops("apply", str(swarm.inventory))
    assert set(swarm.nodes()) == set(NODES)


def test_a_node_removed_by_force_ends_its_tasks_and_apply_takes_it_back(swarm: Local):
    """They run elsewhere by then; on the node itself the socket says what happened."""
    swarm.docker("node1", "node", "rm", "--force", "node4")
    wait_for(lambda: not web_pid(node_address(4)), "no web server on the removed node")
    info = swarm.docker("node4", "info", "--format", "{{.Swarm.LocalNodeState}} {{.Swarm.Error}}")
    assert info.stdout.startswith("error this node was removed from its swarm: leave")
    swarm.swarmops("apply", str(swarm.inventory))
    assert swarm.nodes()["node4"]["status"] == "Ready"
    wait_for(lambda: answers(node_address(4)), "a web server on the node")


def test_a_manager_that_lost_its_raft_state_joins_the_group_anew(swarm: Local):
    """Under a new raft ID, by itself: the old member is removed, never waited for."""
    lost = next(n for n in ("node1", "node2", "node3") if n != leader(swarm))
    home = swarm.folder / ".demo" / lost / "data"
    before = json.loads((home / "node.json").read_text())["raft_id"]
    shutil.rmtree(home / "raft")
    swarm.kill_daemon(lost)

    def joined_anew() -> bool:
        return json.loads((home / "node.json").read_text())["raft_id"] not in ("", before)

    wait_for(joined_anew, "a new raft ID")
    wait_for(lambda: swarm.nodes()[lost]["manager_status"] == "Reachable", "a reachable manager")


def test_what_the_operator_says_of_a_machine_counts_for_its_tasks(swarm: Local):
    """An engine label that a constraint names, a generic resource that a task is given."""
    said = '{"labels": {"disk": "ssd"}, "generic_resources": {"gpu": ["u1"]}}'
    (swarm.folder / ".demo" / "node4" / "data" / "machine.json").write_text(said)
    swarm.kill_daemon("node4")  # it would read it within 20 s by itself
    swarm.docker(
        "node1",
        *("service", "create", "-d", "--name=gpus", "--replicas=2"),
        *("--generic-resource=gpu=1", "--constraint=engine.labels.disk==ssd"),
        *("host", "sh", "-c", "echo got $DOCKER_RESOURCE_GPU; exec sleep 1000"),
    )
    on_node4 = ("service", "ps", "-q", "--no-trunc", "--filter=node=node4", "gpus")
    task = wait_for(lambda: swarm.docker("node1", *on_node4).stdout, "a placed task").strip()
    logs = ("service", "logs", "--raw", task)
    wait_for(lambda: swarm.docker("node1", *logs).stdout == "got u1\n", "what the task got")
    (waiting,) = [each for each in swarm.tasks("gpus") if each["node"] != "node4"]
    assert "no suitable node" in waiting["error"]
    swarm.docker("node1", "service", "rm", "gpus")


@pytest.mark.parametrize("what", ["service", "node"])
def test_apply_brings_back_what_is_missing(swarm: Local, what: str):
    """A removed service; a node that left."""
    if what == "service":
        swarm.swarmops("service", "rm", "web")
    else:
        swarm.docker("node4", "swarm", "leave")
    swarm.swarmops("apply", str(swarm.inventory))
    wait_for(lambda: len(running(swarm)) == 4, "four servers")
    assert set(swarm.nodes()) == set(NODES)


def test_destroy_leaves_no_process_and_no_file(swarm: Local):
    """And it may be said twice."""
    swarm.swarmops("destroy", "--yes", str(swarm.inventory))
    assert swarm.processes() == []
    left = [path for path in (swarm.folder / ".demo").rglob("*") if not path.is_dir()]
    assert left == []
    swarm.swarmops("destroy", "--yes", str(swarm.inventory))
