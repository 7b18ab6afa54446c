"""Put a file on every host of an inventory, as the operator sends a bundle, and no more.

`python -m bench.sending INVENTORY FILE PATH`, run by `pushing.py`. Prints on how many it is.
"""

import sys
from pathlib import Path

from swarmops.backends import upload
from swarmops.fleet.inventory import read_inventory
from swarmops.fleet.pool import run_on
from swarmops.fleet.shells import Shells
from swarmops.fleet.targets import target_of


def main(inventory: Path, source: Path, path: str) -> int:
    """Send; return the exit status."""
    content = source.read_bytes()
    targets = [target_of(host) for host in read_inventory(inventory).hosts.values()]
    with Shells() as shells:
        sent = run_on(targets, lambda to: upload.put(shells.of(to), content, path, 0o644))
    for name, error in sent.errors.items():
        print(f"{name}: {error}", file=sys.stderr)
    print(f"sent to {len(sent.results)} hosts")
    return 1 if sent.errors else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
