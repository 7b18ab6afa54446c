"""``python -m tests.sim.manager --seeds N --start K``: many seeds, one after another.

With ``--seed K`` one seed alone, as a failing test says. Prints what failed and exits 1 then.
"""

from __future__ import annotations

# ruff: noqa: T201 - printing is what it is for
import argparse
import sys
import time

import structlog

from tests.sim.manager.world import Failure, simulate


def main() -> int:
    """Run them."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.manager", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    if options.seed is not None:
        options.start, options.seeds = options.seed, 1
    end_s = time.monotonic() + options.seconds
    played = failed = 0
    slowest_s = 0.0
    for seed in range(options.start, options.start + options.seeds):
        if time.monotonic() > end_s:
            break
        played += 1
        try:
            report = simulate(seed)
        except Failure as failure:
            failed += 1
            print(failure, flush=True)
        else:
            slowest_s = max(slowest_s, report.settled_s)
            if options.seed is not None:
                print(report)
    print(f"{played} seeds, {failed} failed; settled within {slowest_s:.1f} s of peace")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
