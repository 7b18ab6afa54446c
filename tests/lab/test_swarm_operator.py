"""An operator's commands over SSH, on hosts with systemd, as users who need a password too.

One swarm of three hosts for all tests, and nothing that changes it for good.
"""

import base64
import subprocess
import threading
from collections.abc import Iterator

import pytest

from tests.lab.engine import docker_argv
from tests.lab.hosts import run_in
from tests.lab.lab import Lab
from tests.lab.recipe import OPERATOR_WITH_PASSWORD, SUDO_PASSWORD
from tests.lab.swarm import UNIT, Swarm, formed, web

PLAYBOOK = {"swarm": {"managers": 1}, "services": {"web": web(3)}}
NAMES = ["host1", "host2", "host3"]
NO_KEYS = "-o IdentitiesOnly=yes"
STOP = "/run/stop-watching"
_WATCHER = f"""
import base64, os, sys, time
secret = base64.b64decode(sys.argv[1])
looks = sudo = shown = 0
print("watching", flush=True)
while not os.path.exists("{STOP}"):
    looks += 1
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{{pid}}/cmdline", "rb") as file:
                said = file.read()
        except OSError:
            continue
        sudo += said.startswith(b"sudo\\0")
        shown += secret in said
    time.sleep(0.002)
os.unlink("{STOP}")
print(looks, sudo, shown, flush=True)
"""
"""Runs on a host and counts whose command lines it sees; of the secret it is told in base64."""


@pytest.fixture(scope="module")
def swarm(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    """One manager and two workers."""
    with formed(lab, tmp_path_factory, "operator", PLAYBOOK, count=3, managers=1) as swarm:
        swarm.settle()
        yield swarm


def test_the_doctor_finds_a_swarm_well_and_a_stopped_unit_a_problem(swarm: Swarm) -> None:
    """With the host and the cure, and exit code 1."""
    swarm.operator.run("doctor")
    run_in(swarm["host3"], "systemctl", "stop", UNIT)
    try:
        found = swarm.operator.run("doctor", rc=1)
        assert "host3" in found.out
        assert "swarmops apply" in found.out
    finally:
        run_in(swarm["host3"], "systemctl", "start", UNIT)
    swarm.settle()


def test_a_command_runs_on_all_hosts_at_once(swarm: Swarm) -> None:
    """Each line with its host."""
    said = swarm.operator.run("exec", "all", "--", "hostname").out
    assert sorted(said.splitlines()) == [f"{name}: {name}" for name in NAMES]


def test_ssh_is_openssh_with_the_inventorys_user_and_key(swarm: Swarm) -> None:
    """It ends as the command there ended."""
    assert swarm.operator.run("ssh", "host2", "--", "hostname; exit 7", rc=7).out == "host2\n"


def test_a_units_log_is_its_journal_and_can_be_followed(swarm: Swarm) -> None:
    """The last lines, and what is written from then on."""
    assert len(swarm.operator.run("logs", "host1", "-n", "2").out.splitlines()) == 2
    with swarm.operator.start("logs", "host3", "-n", "1", "-f") as following:
        assert following.stdout is not None
        bound = threading.Timer(60, following.kill)
        bound.start()
        try:
            assert following.stdout.readline()
            run_in(swarm["host3"], "systemctl", "restart", UNIT)
            assert any("Stopping" in line for line in following.stdout)
        finally:
            bound.cancel()
            following.terminate()
    swarm.settle()


def test_docker_reaches_the_swarm_through_a_context_and_the_tunnel(swarm: Swarm) -> None:
    """`context create`, `tunnel` in the background, then plain `docker --context NAME`."""
    swarm.operator.run("context", "create", "lab")
    with swarm.operator.start("tunnel") as tunnel:
        assert tunnel.stdout is not None
        assert tunnel.stdout.readline().startswith("export DOCKER_HOST=unix://")
        words = ["docker", "--context", "lab", "node", "ls", "--format", "{{.Hostname}}"]
        listed = subprocess.run(
            words,
            env=swarm.operator.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        tunnel.terminate()
    assert sorted(listed.stdout.split()) == NAMES, listed.stderr


def test_a_watch_over_ssh_corrects_what_somebody_changed(swarm: Swarm) -> None:
    """One round; what it corrected is named."""
    swarm.operator.run("service", "scale", "web=1")
    done = swarm.operator.run("watch", "--interval", "1s", "--rounds", "1")
    assert "1 step away from the playbook: corrected" in done.out
    assert len(swarm.placed()) == 3


def test_passwords_reach_hosts_and_no_command_line(swarm: Swarm) -> None:
    """A user who logs in and does sudo with a password: no process of a host ever shows it."""
    passwords = {"ansible_password": SUDO_PASSWORD, "ansible_become_password": SUDO_PASSWORD}
    swarm.write(
        PLAYBOOK,
        managers=swarm.hosts[:1],
        user=OPERATOR_WITH_PASSWORD,
        variables={**passwords, "ansible_become": True, "ansible_ssh_common_args": NO_KEYS},
    )
    text = swarm.inventory.read_text()
    keyless = [line for line in text.splitlines() if "private_key_file" not in line]
    swarm.inventory.write_text("\n".join(keyless) + "\n")
    secret = base64.b64encode(SUDO_PASSWORD.encode()).decode()
    argv = docker_argv("exec", swarm["host2"].container, "python3", "-c", _WATCHER, secret)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline() == "watching\n"
        swarm.operator.run("apply", swarm.inventory)
        run_in(swarm["host2"], "touch", STOP)
        looks, seen_sudo, seen_secret = map(int, watching.stdout.readline().split())
    assert looks > 10
    assert seen_sudo > 0, "it never saw how the apply became root"
    assert seen_secret == 0
