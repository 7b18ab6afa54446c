"""What `swarmops apply` does until the release is on every host, and no more.

`python -m bench.installing INVENTORY`, run by `pushing.py`: apply's own observation, plan and
steps, of which only those that install are done. Prints how many there were.
"""

import sys
from pathlib import Path

from swarmops.fleet.access import host_client
from swarmops.fleet.actions import Actions
from swarmops.fleet.execute import execute
from swarmops.fleet.managers import Managers
from swarmops.fleet.opened import Progress, look, open_fleet
from swarmops.fleet.shells import Shells
from swarmops.fleet.steps import StepKind


def main(inventory: Path) -> int:
    """Install; return the exit status."""
    with Shells() as shells:
        fleet = open_fleet(inventory, (), shells)
        seen, plan = look(fleet, Progress())
        steps = [step for step in plan.steps if step.kind is StepKind.INSTALL]
        managers = Managers(lambda host: host_client(fleet.inventory, shells, host))
        actions = Actions(fleet.inventory, fleet.backend, shells, seen, managers)
        failed = [end for end in execute(steps, actions.do).ended if not end.succeeded]
    for end in failed:
        print(f"{end.step.target}: {end.reason}", file=sys.stderr)
    print(f"installed on {len(steps) - len(failed)} hosts")
    return 1 if failed or plan.problems or plan.refusals else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
