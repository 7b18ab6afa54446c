"""Find the first seed that notices each mutation, or those named on the command line."""

from __future__ import annotations

import sys

from tests.sim.raft.mutations import TABLE, noticed


def main() -> int:
    """Print what notices, and what it noticed."""
    wanted = sys.argv[1:]
    for mutation in TABLE:
        if wanted and mutation.name not in wanted:
            continue
        by, found = noticed(mutation)
        print(f"{by or 'NEVER'}  {mutation.name}: {found[:90]}", flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
