"""Commands on hosts and the swarm's API on the operator's machine, on five real nodes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

from tests.local.conftest import Local, signalled, wait_for


def test_the_doctor_finds_a_whole_swarm_well_and_a_dead_manager_a_problem(swarm: Local):
    """Exit code 0 and one line; with a manager's process gone, 1 with the host and the cure."""
    assert "checks of 5 hosts are well" in swarm.swarmops("doctor").stdout
    checks = json.loads(swarm.swarmops("doctor", "--all", "--format", "json").stdout)
    expires = [one for one in checks if one["check"] == "certificate"]
    assert {one["host"] for one in expires} == {f"node{n}" for n in range(1, 6)}
    assert {one["host"] for one in checks if one["check"] == "raft"} == {"node1", "node2", "node3"}

    supervisor = int((swarm.folder / ".demo/node3/data/supervisor.pid").read_text().split()[0])
    daemon = swarm.daemon_pid("node3")
    os.kill(supervisor, signal.SIGKILL)
    os.kill(daemon, signal.SIGKILL)
    nowhere = ("--constraint", "node.labels.none==such", "--detach", "host", "sleep", "9")
    swarm.swarmops("service", "create", "--name", "never", *nowhere)
    found = swarm.swarmops("doctor", expect=1).stdout
    swarm.swarmops("service", "rm", "never")
    assert "never: 0 of 1 tasks run; never.1 is pending: no suitable node" in found
    assert "node3" in found
    assert "swarmops apply" in found
    swarm.swarmops("apply")
    swarm.swarmops("doctor")


def test_a_look_is_one_round_trip_a_host(swarm: Local):
    """The log of a plan has one program that ran on each host, and it brought everything."""
    swarm.swarmops("plan")
    logs = (swarm.folder / "state/swarmops").rglob("plan-*.log")
    log = max(logs, key=lambda path: path.stat().st_mtime)
    ran = re.findall(r"(node\d): (\w+) ended with 0", log.read_text())
    assert sorted(ran) == [(f"node{n}", "facts") for n in range(1, 6)]


def test_a_command_runs_on_all_hosts_of_a_pattern(swarm: Local):
    """Each line with its host; a failure anywhere is exit code 3."""
    said = swarm.swarmops("exec", "node[1:2]", "--", "echo", "-n", "here")
    assert sorted(said.stdout.splitlines()) == ["node1: here", "node2: here"]
    said = swarm.swarmops("exec", "all", "--format", "json", "--", "sh", "-c", "exit 4", expect=3)
    assert [(one["host"], one["rc"]) for one in json.loads(said.stdout)] == [
        (f"node{n}", 4) for n in range(1, 6)
    ]


def test_a_nodes_own_log_is_shown(swarm: Local):
    """The last lines of the daemon's log."""
    assert len(swarm.swarmops("logs", "node1", "-n", "2").stdout.splitlines()) == 2


def test_the_docker_command_works_through_the_tunnel(swarm: Local):
    """`tunnel -- docker node ls` needs nothing on this machine but the docker command."""
    names = ["tunnel", "--", "docker", "node", "ls", "--format", "{{.Hostname}}"]
    assert sorted(swarm.swarmops(*names).stdout.split()) == [f"node{n}" for n in range(1, 6)]
    swarm.swarmops("tunnel", "--", "sh", "-c", "exit 9", expect=9)


def test_a_watch_corrects_what_somebody_changed(swarm: Local):
    """Two rounds: the first finds drift and corrects it, the second finds none."""
    swarm.swarmops("service", "scale", "web=1")
    said = swarm.swarmops("watch", "--interval", "1s", "--rounds", "2")
    lines = said.stdout.splitlines()
    assert "1 step away from the playbook: corrected" in lines[0]
    assert lines[-1].endswith("as it should be")
    assert "drift: web" in said.stderr
    checked = swarm.swarmops("watch", "--check", "--interval", "1s", "--rounds", "1")
    assert "as it should be" in checked.stdout


def test_a_watch_leaves_what_takes_something_away_and_corrects_the_rest(swarm: Local):
    """Nobody is there to be asked: two managers stay, and a service is scaled back."""
    text = swarm.playbook.read_text()
    swarm.playbook.write_text(text.replace("managers: 3", "managers: 1"))
    swarm.swarmops("service", "scale", "web=1")
    said = swarm.swarmops("watch", "--interval", "1s", "--rounds", "1")
    assert "3 steps away from the playbook: 1 corrected, 2 left, which --yes allows" in said.stdout
    assert "(left alone without --yes)" in said.stderr
    swarm.playbook.write_text(text)
    assert sum(row["role"] == "manager" for row in swarm.nodes().values()) == 3
    assert "as it should be" in swarm.swarmops("watch", "--rounds", "1").stdout


def test_a_signal_in_the_middle_of_a_round_ends_the_watch(swarm: Local):
    """It is no correction: the exit code is 130, and the lock is free at once."""
    with swarm.never_done("1"):
        with swarm.start("watch", "--interval", "60s") as process:
            signalled(process, signal.SIGTERM)
            said, _ = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "corrected" not in said
        assert "Nobody has locked it" in swarm.swarmops("unlock-apply", "--reason", "look").stdout


def test_a_manager_that_is_slow_to_answer_is_named_and_left_alone(swarm: Local):
    """Its process is not restarted: what it does for the swarm may be well."""
    pid = swarm.daemon_pid("node2")
    os.kill(pid, signal.SIGSTOP)
    try:
        planned = swarm.swarmops("plan", "--format", "json", expect=3)
    finally:
        os.kill(pid, signal.SIGCONT)
    plan = json.loads(planned.stdout)
    assert not [step for step in plan["steps"] if step["target"] == "node2"]
    assert "does not answer on its socket in time" in plan["problems"]["node2"]
    assert swarm.daemon_pid("node2") == pid


def test_status_says_which_revision_is_applied_and_by_whom(swarm: Local):
    """The playbook's name, who and when; the commit where the playbook is in git."""
    said = json.loads(swarm.swarmops("status", "--format", "json").stdout)
    assert said["revision"]["playbook"] == "demo.yml"
    assert said["revision"]["by"]
    assert "Applied: demo.yml" in swarm.swarmops("status").stdout


def test_a_watch_follows_git_and_the_swarm_remembers_the_commit(swarm: Local, tmp_path: Path):
    """Somebody else pushes: the next round applies it, tells its figures, and status the commit."""
    upstream, elsewhere = tmp_path / "upstream.git", tmp_path / "elsewhere"

    def git(*words: str | Path, folder: Path = swarm.folder) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        argv = ["git", "-C", str(folder), *identity, *map(str, words)]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "--bare", upstream)
    git("init", "-q", "-b", "main")
    git("add", "inventories", "playbooks")
    git("commit", "-q", "-m", "first")
    git("remote", "add", "origin", upstream)
    git("push", "-q", "-u", "origin", "main")
    git("clone", "-q", "-b", "main", upstream, elsewhere)
    playbook = elsewhere / "playbooks" / "demo.yml"
    playbook.write_text(playbook.read_text() + "vars: {pushed: true}\nprune: false\n")
    text = playbook.read_text().replace("replicas: 4", "replicas: 3")
    playbook.write_text(text)
    git("commit", "-q", "-a", "-m", "second", folder=elsewhere)
    git("push", "-q", folder=elsewhere)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ("watch", "--git", "--interval", "1s", "--metrics-port", str(port))
    with swarm.start(*words, str(swarm.inventory)) as watching:

        def figures() -> str:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as said:
                    return str(said.read().decode())
            except OSError:
                return ""

        wait_for(lambda: "swarmops_watch_drifted_total 1.0" in figures(), "a corrected round")
        wait_for(lambda: "swarmops_watch_drift_steps 0.0" in figures(), "a round without drift")
        assert "swarmops_watch_failures_total 0.0" in figures()
        watching.send_signal(signal.SIGINT)
    assert len([task for task in swarm.tasks("web") if task["desired_state"] == "Running"]) == 3
    said = json.loads(swarm.swarmops("status", "--format", "json").stdout)
    assert said["revision"]["commit"] == git("rev-parse", "--short=12", "HEAD", folder=elsewhere)
