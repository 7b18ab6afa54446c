"""The lab's own promises: that its hosts are real enough to believe what tests see on them."""

import contextlib
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import faults, recipe
from tests.lab import lab as labs
from tests.lab.engine import docker
from tests.lab.hosts import Host, greets, run_in, wait_ready
from tests.lab.inventory import inventory_text
from tests.lab.lab import Lab
from tests.lab.mirror import uris_with
from tests.lab.network import bridge_name
from tests.lab.ssh import copy_from, copy_to, ssh, ssh_argv
from tests.lab.task_image import BUSYBOX, import_busybox
from tests.lab.waiting import wait_for

Claim = Callable[..., tuple[Host, ...]]


def reaches(host: Host, other: Host) -> bool:
    """Say whether a host gets an SSH banner from another."""
    script = f"exec 3<>/dev/tcp/{other.address}/22 && head -c 4 <&3"
    return run_in(host, "timeout", "2", "bash", "-c", script).stdout == "SSH-"


def test_hosts_are_machines_with_ssh_and_python_and_nothing_of_ours(claim: Claim) -> None:
    """Every bare host has booted, has its own identity and addresses, and no trace of swarmops."""
    hosts = claim(6)
    machine_ids, host_keys = set(), set()
    for host in hosts:
        assert wait_ready(host) == "running"
        seen = ssh(
            host,
            "cat /proc/1/comm /etc/machine-id; hostname; python3 -c"
            " 'import sys; print(sys.version_info >= (3, 11))';"
            " cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub;"
            " ls -d /opt/swarmops /var/lib/swarmops /etc/swarmops 2>/dev/null",
            check=False,
        ).stdout.split()
        comm, machine_id, hostname, python_fits, host_key = seen
        assert (comm, hostname, python_fits) == ("systemd", host.name, "True")
        machine_ids.add(machine_id)
        host_keys.add(host_key)
    assert len(machine_ids) == len(host_keys) == len(hosts)


@pytest.mark.parametrize(
    ("user", "sudo"),
    [
        pytest.param("root", "true", id="root"),
        pytest.param(recipe.OPERATOR, "sudo -n true", id="passwordless-sudo"),
        pytest.param(
            recipe.OPERATOR_WITH_PASSWORD,
            f"! sudo -n true 2>/dev/null && echo {recipe.SUDO_PASSWORD} | sudo -S true",
            id="sudo-with-password",
        ),
    ],
)
def test_the_key_opens_every_account(claim: Claim, user: str, sudo: str) -> None:
    """Each account logs in with the lab's key and gets root in its own way."""
    (host,) = claim(1)
    assert ssh(host, f"id -un && {sudo}", user=user).stdout.strip() == user


def test_docker_runs_containers_inside(claim: Claim, tmp_path: Path) -> None:
    """A host's own engine runs the busybox image; files travel both ways."""
    (host,) = claim(1)
    import_busybox([host])
    assert ssh(host, f"docker run --rm {BUSYBOX} echo hello").stdout == "hello\n"
    ssh(host, f"docker run -d -p 8080:80 {BUSYBOX} httpd -f -h /etc")
    wait_for(
        lambda: ssh(host, "python3 -c 'import socket; socket.create_connection"
                    "((\"127.0.0.1\", 8080), 2)'", check=False).returncode == 0,
        "the published port to answer",
        within_s=10,
    )  # fmt: skip
    (tmp_path / "out").write_text("to and fro")
    copy_to(host, tmp_path / "out", "/root/out")
    copy_from(host, "/root/out", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "to and fro"


def test_a_host_without_engine_has_docker_off_and_disabled(claim: Claim) -> None:
    """`engine` is chosen host by host, and what is enabled later survives a reboot."""
    with_engine, without = claim(2, engine=[True, False])
    state = "systemctl is-active docker.service; systemctl is-enabled docker.service"
    assert ssh(with_engine, state, check=False).stdout.split() == ["active", "enabled"]
    assert ssh(without, state, check=False).stdout.split() == ["inactive", "disabled"]
    ssh(without, "systemctl enable docker.service")
    faults.reboot(without)
    assert ssh(without, state, check=False).stdout.split() == ["active", "enabled"]


def test_power_off_kills_everything_and_keeps_the_disk(claim: Claim) -> None:
    """After power_on the files and the identity are the old ones, the processes are not."""
    (host,) = claim(1)
    identity = "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub"
    before = ssh(host, f"echo kept > /root/kept; sync; {identity}").stdout
    ssh(host, "systemd-run --unit=busy sleep 1000")
    faults.power_off(host)
    assert not greets(host.address)
    faults.power_on(host)
    assert ssh(host, f"cat /root/kept; {identity}").stdout == f"kept\n{before}"
    assert ssh(host, "systemctl is-active busy", check=False).stdout == "inactive\n"


def test_power_off_sends_no_goodbye(claim: Claim) -> None:
    """A connection to a host that lost its power stays open and silent, as with a real machine."""
    (host,) = claim(1)
    with socket.create_connection((host.address, 22), timeout=5) as connection:
        assert connection.recv(4) == b"SSH-"
        connection.settimeout(0.1)
        with contextlib.suppress(TimeoutError):
            while connection.recv(4096):
                pass
        connection.settimeout(0.5)
        faults.power_off(host)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_wipe_gives_a_fresh_machine_at_the_same_address(lab: Lab, claim: Claim) -> None:
    """A wiped host has the name and address it had and nothing else: a new host key, no files."""
    (host,) = claim(1)
    import_busybox([host])
    identity = "hostname; cat /etc/ssh/ssh_host_ed25519_key.pub"
    name, old_key = ssh(host, f"touch /root/old; {identity}").stdout.splitlines()
    lab.wipe(host)
    new_name, new_key = ssh(host, identity).stdout.splitlines()
    assert new_name == name
    assert new_key != old_key
    assert ssh(host, "ls /root/old", check=False).returncode != 0
    assert ssh(host, "docker image ls -q").stdout == ""


def test_a_used_host_is_bare_at_the_next_claim(lab: Lab) -> None:
    """What one test leaves behind no other test sees."""
    with lab.claim(2) as (host, _other):
        ssh(host, "mkdir /opt/swarmops")
    with lab.claim(1) as (host,):
        assert ssh(host, "ls -d /opt/swarmops", check=False).returncode != 0


def firewall_rules() -> list[str]:
    """The machine's rules and chains, without the times and counters that are printed with them."""
    done = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True)
    return [line.split(" [")[0] for line in done.stdout.splitlines() if not line.startswith("#")]


def test_down_leaves_nothing(lab: Lab) -> None:
    """A second lab gets its own bridge beside the first, and takes all of it away again."""
    before = firewall_rules()
    second, _timings = labs.up("second", 1)
    assert ssh(second.hosts[0], "hostname").stdout == "host1\n"
    assert second.hosts[0].address not in {host.address for host in lab.hosts}
    assert labs.down("second")
    assert not Path(f"/sys/class/net/{bridge_name('second')}").exists()
    assert not second.directory.exists()
    assert docker("ps", "-aq", "--filter", "label=swarmops.lab=second") == ""
    assert firewall_rules() == before
    assert not labs.down("second")


def test_partition_cuts_both_ways_and_heals(claim: Claim) -> None:
    """A partitioned host loses exactly the hosts it is cut from, and the lab still reaches it."""
    first, second, third = claim(3)
    faults.partition(first, from_hosts=[first, second])
    assert not reaches(first, second)
    assert not reaches(second, first)
    assert reaches(first, third)
    assert reaches(third, first)
    assert ssh(first, "echo here").stdout == "here\n"
    faults.heal(first)
    assert reaches(first, second)
    assert reaches(second, first)


def test_pause_stops_time_on_a_host_its_containers_too(claim: Claim) -> None:
    """A paused host accepts nothing new and none of its processes runs; unpause undoes it."""
    (host,) = claim(1)
    import_busybox([host])
    ssh(host, f"docker run -d --name tick -v /root:/out {BUSYBOX}"
              " sh -c 'while :; do date +%s%N > /out/tick; usleep 20000; done'")  # fmt: skip
    ssh(host, "timeout 10 sh -c 'until test -s /root/tick; do :; done'")
    tick = Path(docker("inspect", host.container, "--format", "{{.GraphDriver.Data.MergedDir}}"))
    tick /= "root/tick"
    faults.pause(host)
    frozen = tick.read_text()
    with pytest.raises(AssertionError):
        wait_for(lambda: tick.read_text() != frozen, "a frozen clock to move", within_s=0.5)
    faults.unpause(host)
    wait_for(lambda: tick.read_text() != frozen, "the clock to move again", within_s=5)


def test_link_down_cuts_the_host_off_from_everybody(claim: Claim) -> None:
    """With the cable out even the lab's SSH fails; with it back the host is reachable."""
    first, second = claim(2)
    faults.link_down(first)
    assert not reaches(second, first)
    faults.link_up(first)
    wait_for(lambda: reaches(second, first), "the link to carry again", within_s=10)


def test_inventory_names_hosts_groups_and_the_way_in(lab: Lab) -> None:
    """The inventory is Ansible's YAML with managers and workers as asked."""
    import ruamel.yaml

    text = inventory_text(lab.hosts, managers=lab.hosts[:1], workers=[], variables={"x": "a b"})
    read = ruamel.yaml.YAML(typ="safe").load(text)["all"]
    assert list(read["hosts"]) == [host.name for host in lab.hosts]
    assert read["children"]["managers"]["hosts"] == {"host1": None}
    assert read["children"]["workers"]["hosts"] == {}
    assert read["vars"] == {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": lab.hosts[0].key,
        "x": "a b",
    }


@pytest.mark.parametrize(
    ("text", "uris"),
    [
        ("deb http://a.example/debian bookworm main\n", ["http://a.example/debian"]),
        ("deb [signed-by=/k arch=amd64] http://a.example/d/ bookworm main", ["http://a.example/d"]),
        ("# deb http://a.example/debian bookworm main\ndeb-src http://a.example/ bookworm m", []),
        ("deb http://a.example/debian bookworm-updates main\n", []),
        (
            """Types: deb
# URIs: http://old.example
URIs: http://a.example/d
Suites: bookworm bookworm-updates

Types: deb
URIs: http://s.example/d
Suites: bookworm-security
""",
            ["http://a.example/d"],
        ),
    ],
)
def test_the_mirror_is_read_from_both_of_apts_formats(text: str, uris: list[str]) -> None:
    """Only enabled binary sources of exactly the suite count."""
    assert uris_with("bookworm", [text]) == uris


def test_ssh_command_lines_never_ask() -> None:
    """A command line for a host can run where nobody can answer a question."""
    host = Host(name="h", address="10.0.0.1", container="c", engine=True, key="/k", lab="l")
    argv = ssh_argv(host, "true", user="ops")
    assert "BatchMode=yes" in argv
    assert argv[-2:] == ["ops@10.0.0.1", "true"]
