"""Docker Engine from the distribution's packages, where the inventory allows it: by a real apt."""

import pytest

from tests.lab.backend_side import Side
from tests.lab.hosts import run_in
from tests.lab.lab import Lab
from tests.lab.packages import without_engine
from tests.lab.swarm import drawn

pytestmark = pytest.mark.docker_swarm
PLAYBOOK = {"swarm": {"managers": 1}}


def test_docker_is_installed_where_the_inventory_allows_it(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Not unasked; a package that apt doesn't find is named; then the host has it, and a swarm."""
    with lab.claim(1, engine=False) as (host,):
        without_engine(host)
        swarm = drawn([host], tmp_path_factory, "install", "docker")
        swarm.write(PLAYBOOK, managers=[host])
        (error,) = swarm.apply(rc=1).errors
        assert "Docker Engine is not installed there: install it, or set swarmops_install_" in error

        allowed = {"swarmops_install_docker": True}
        swarm.write(PLAYBOOK, managers=[host], variables=allowed)
        run_in(host, "mv", "/srv/packages/Packages", "/srv/packages/off")
        run_in(host, "touch", "/srv/packages/Packages")
        failed = swarm.apply(rc=3)
        assert any("apt-get can't install docker.io: " in error for error in failed.errors)

        run_in(host, "mv", "/srv/packages/off", "/srv/packages/Packages")
        swarm.apply()
        assert (
            Side(swarm, swarm.backend).docker("node", "ls", "--format", "{{.ManagerStatus}}")
            == "Leader"
        )
        enabled = run_in(host, "systemctl", "is-enabled", "docker.service")
        assert enabled.stdout.strip() == "enabled"
        swarm.operator.run("plan", swarm.inventory, rc=0)
