"""The recipe of docs/coming-from.md: from Docker's swarm mode to our runtime, on the same hosts."""

import json

import pytest

from tests.lab.backend_side import Side, playbook, service
from tests.lab.hosts import run_in
from tests.lab.lab import Lab
from tests.lab.swarm import drawn
from tests.lab.task_image import import_busybox
from tests.lab.waiting import wait_for

pytestmark = pytest.mark.docker_swarm


def test_a_swarm_moves_to_our_runtime_and_nothing_stops_before_its_successor_runs(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Both run side by side on other ports; the old one goes, the new one's containers stay."""
    with lab.claim(3) as hosts:
        import_busybox(hosts)
        old = drawn(hosts, tmp_path_factory, "move-old")
        said = playbook(3, {"app": service(3)})
        old.write(said, managers=hosts, workers=(), variables={"swarmops_backend": "docker"})
        old.apply()
        backup = old.inventory.parent / "before.swarmops-backup"
        phrase = old.inventory.parent / "phrase"
        phrase.write_text("correct horse")
        words = ("backup", "create", backup, "--passphrase-file", phrase)
        assert "1 services" in old.operator.run(*words, rc=0).out

        new = drawn(hosts, tmp_path_factory, "move-new")
        ports = {"swarmops_backend": "native", "swarmops_listen_addr": "0.0.0.0:2378"}
        new.write(said, managers=hosts, workers=(), variables=ports)
        new.apply()
        sides = Side(old, "docker"), Side(new, "native")
        assert [len(side.running()) for side in sides] == [3, 3]
        ours = set(_containers(hosts[0]))

        sides[0].docker("service", "rm", "app")
        old.operator.run("destroy", "--yes", rc=0)
        wait_for(lambda: len(_containers(hosts[0])) == 1, "only ours", within_s=30)
        assert set(_containers(hosts[0])) < ours
        assert len(sides[1].running()) == 3
        new.operator.run("plan", new.inventory, rc=0)
        state = run_in(hosts[0], "docker", "info", "--format", "{{.Swarm.LocalNodeState}}")
        assert state.stdout.strip() == "inactive"
        listed = json.loads(new.operator.run("node", "ls", "--format", "json").out)
        assert {row["status"] for row in listed} == {"Ready"}


def _containers(host: object) -> list[str]:
    return run_in(host, "docker", "ps", "-q").stdout.split()  # type: ignore[arg-type]
