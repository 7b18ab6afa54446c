"""What can be wrong with a host: it is named with cause and cure in one sentence, others finish.

One claim of five hosts for all tests; each makes its own trouble and mends it. The playbook wants
one manager, host1, so that the swarm can always be made by the others.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import faults
from tests.lab.hosts import Host, run_in
from tests.lab.lab import Lab
from tests.lab.recipe import OPERATOR, OPERATOR_WITH_PASSWORD, SUDO_PASSWORD
from tests.lab.swarm import UNIT, Swarm, ask, drawn, web
from tests.lab.waiting import wait_for

PLAYBOOK = {"swarm": {"managers": 1}, "services": {"web": web(2)}}


@pytest.fixture(scope="module")
def hosts(lab: Lab) -> Iterator[tuple[Host, ...]]:
    """Five hosts, bare at first."""
    with lab.claim(5, engine=False) as hosts:
        yield hosts


@pytest.fixture
def swarm(
    hosts: tuple[Host, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Swarm:
    """The hosts with an operator new to them; host5 is where the trouble will be."""
    swarm = drawn(hosts, tmp_path_factory, "trouble")
    swarm.write(PLAYBOOK, managers=hosts[:1])
    return swarm


def told(swarm: Swarm, host: str = "host5") -> str:
    """Apply and return the one sentence about the host; all others are nodes afterwards."""
    done = swarm.apply(rc=3)
    (error,) = done.errors
    assert error.startswith(f"{host}: ")
    others = {one.name for one in swarm.hosts} - {host}

    def ready() -> set[str]:
        nodes = swarm.nodes().items()
        return {name for name, node in nodes if node["Status"]["State"] == "ready"}

    wait_for(lambda: ready() >= others, "the others ready", within_s=15)
    assert len(swarm.placed()) == 2
    return error


def member(host: Host) -> bool:
    """Say whether a host is in a swarm."""
    status, info = ask(host, "GET", "/info")
    return status == 200 and info["Swarm"]["LocalNodeState"] == "active"


def test_a_host_without_power_is_named_and_the_others_finish(swarm: Swarm) -> None:
    """It joins with a later apply."""
    lost = swarm["host5"]
    faults.power_off(lost)
    try:
        assert "is it on" in told(swarm)
    finally:
        faults.power_on(lost)
    swarm.apply()
    assert member(lost)
    destroy(swarm, "host5")


def destroy(swarm: Swarm, name: str) -> None:
    """Make one host bare again, and let the swarm forget its node."""
    one = Swarm([swarm[name]], swarm.inventory.parent / name, swarm.operator)
    one.inventory.parent.mkdir()
    one.write(PLAYBOOK)
    one.operator.run("destroy", "--yes", one.inventory)
    swarm.operator.run("node", "rm", "--force", name, "-i", swarm.inventory)


def test_a_host_without_python_is_named(swarm: Swarm) -> None:
    """What is missing and what to install."""
    host = swarm["host5"]
    run_in(host, "sh", "-c", "cd /usr/bin && for p in python3*; do mv $p off-$p; done")
    try:
        error = told(swarm)
    finally:
        run_in(host, "sh", "-c", "cd /usr/bin && for p in off-*; do mv $p ${p#off-}; done")
    assert "no Python ≥ 3.11 on the host: install python3" in error


def test_a_key_that_opens_nothing_is_named(swarm: Swarm) -> None:
    """The user and what to check."""
    host = swarm["host5"]
    files = "/etc/ssh/lab_authorized_keys"
    run_in(host, "mount", "--bind", "/dev/null", files)
    try:
        error = told(swarm)
    finally:
        run_in(host, "umount", files)
    assert f"{host.address}:22 refused every key for user root" in error


def test_a_key_file_that_is_not_there_is_named(swarm: Swarm) -> None:
    """With the variable that names it."""
    absent = str(swarm.inventory.with_name("absent"))
    swarm.write(PLAYBOOK, variables={"ansible_ssh_private_key_file": absent})
    (error,) = swarm.apply(rc=1).errors
    who = "host1, host2 and host3, all that may be managers, can't be used, nor can host4 and host5"
    assert error == f"{who}: there is no key file {absent}: see ansible_ssh_private_key_file"


def test_a_changed_host_key_is_refused(swarm: Swarm) -> None:
    """Nothing is sent to a host whose key is not the one recorded at the first visit."""
    swarm.operator.run("plan", swarm.inventory, rc=None)
    known = swarm.operator.known_hosts
    assert known.stat().st_mode & 0o077 == 0
    host = swarm["host5"]
    lines = known.read_text().splitlines()
    recorded = {line.split()[0]: line.split()[1:] for line in lines}
    recorded[host.address] = recorded[swarm["host4"].address]
    known.write_text("".join(f"{name} {' '.join(key)}\n" for name, key in recorded.items()))
    error = told(swarm)
    assert "its host key has changed" in error
    assert str(known) in error
    assert "ssh-keygen" in error


def test_a_full_disk_is_named_and_leaves_nothing_half_done(swarm: Swarm) -> None:
    """/opt has no room for the runtime."""
    host = swarm["host5"]
    run_in(host, "mount", "-t", "tmpfs", "-o", "size=4m", "none", "/opt")
    try:
        error = told(swarm)
        left = run_in(host, "find", "/opt/swarmops", "-type", "f").stdout
    finally:
        run_in(host, "umount", "/opt")
    assert "no space left on device" in error
    assert "free some space" in error
    assert left == ""


def test_a_taken_port_is_named(swarm: Swarm) -> None:
    """Somebody else listens on 2377: no manager can be there; said when it should be one."""
    host = swarm["host5"]
    swarm.write({**PLAYBOOK, "nodes": {"host5": {"role": "manager"}}}, managers=swarm.hosts)
    listener = "python3 -m http.server 2377 --bind 0.0.0.0"
    run_in(host, "systemd-run", "--unit=taken", "--service-type=exec", "sh", "-c", listener)
    try:
        done = swarm.apply(rc=3)
    finally:
        run_in(host, "systemctl", "stop", "taken")
    assert any(
        error.startswith("host5: ") and "2377" in error and "in use" in error
        for error in done.errors
    ), done.said


@pytest.mark.parametrize(
    ("user", "password"),
    [(OPERATOR, None), (OPERATOR_WITH_PASSWORD, SUDO_PASSWORD)],
    ids=["passwordless sudo", "sudo password"],
)
def test_a_sudo_user_can_apply(swarm: Swarm, user: str, password: str | None) -> None:
    """`ansible_become`, with `ansible_become_password` where sudo asks; the socket works too."""
    variables: dict[str, object] = {"ansible_become": True}
    if password:
        variables["ansible_become_password"] = password
    swarm.write(PLAYBOOK, managers=swarm.hosts[:1], user=user, variables=variables)
    run_in(swarm["host4"], "systemctl", "stop", UNIT)
    done = swarm.apply()
    assert password is None or password not in done.said
    assert member(swarm["host4"])
    assert len(swarm.operator.json("node", "ls")) == 5


def test_a_wrong_sudo_password_is_named(swarm: Swarm) -> None:
    """With the variable to look at, and without the password."""
    variables = {"ansible_become": True, "ansible_become_password": "not-it"}
    swarm.write(PLAYBOOK, user=OPERATOR_WITH_PASSWORD, variables=variables)
    done = swarm.apply(rc=1)
    (error,) = done.errors
    assert all(host.name in error for host in swarm.hosts)
    assert "sudo refused" in error
    assert "check ansible_become_password" in error
    assert "not-it" not in done.said


def test_a_user_who_is_not_root_is_told_to_become(swarm: Swarm) -> None:
    """Before anything is tried."""
    swarm.write(PLAYBOOK, user=OPERATOR)
    (error,) = swarm.apply(rc=1).errors
    assert "is not root there: set ansible_become: true" in error


@pytest.mark.parametrize(
    ("inventory", "playbook", "told"),
    [
        ("all: {hosts: {a: , a: }}", "{}", "inventory.yml:1"),
        ("all:\n  hosts:\n    a: {\n", "{}", "inventory.yml:"),
        ("all: {hosts: {a: {swarmops_sockt: /x}}}", "{}", "did you mean 'swarmops_socket'?"),
        (
            "all: {hosts: {a: }}",
            "services: {web: {image: host, deploy: {replicas: many}}}",
            "replicas",
        ),
        ("all: {hosts: {a: }}", "servics: {}", "did you mean 'services'?"),
        ("all: {hosts: {a: }}", "swarm: {name: '{{ nobody }}'}", "nobody"),
        ("all: {hosts: {a: }}", "swarm: {managers: 0}", "playbook.yml:1"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, inventory: str, playbook: str, told: str
) -> None:
    """Where it stands and what would be right; no host is even looked at."""
    swarm = drawn([], tmp_path_factory, "input")
    swarm.inventory.write_text(inventory)
    swarm.playbook.write_text(playbook)
    done = swarm.operator.run("apply", swarm.inventory, "-p", swarm.playbook, rc=1)
    (error,) = done.errors
    assert told in error
    assert done.said.strip() == f"Error: {error}"


def test_an_inventory_that_is_not_there_is_named(swarm: Swarm) -> None:
    """With its path."""
    (error,) = swarm.operator.run("apply", Path("absent.yml"), rc=1).errors
    assert "absent.yml" in error
