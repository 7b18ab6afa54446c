"""Consensus under the clock: three real member processes, as the product runs them.

`python -m bench.raft [speed|kills|steady|snapshot|idle …] [--seconds N] [--folder DIR]`. TLS 1.3
with the swarm's certificates, encryption at rest, a sync to a real disk before each promise; beside
it, in the same run, stock PySyncObj with its defaults, which has none of these.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench.measuring import load
from bench.raft_faults import kills, snapshot, steady
from bench.raft_goals import goal
from bench.raft_idle import idle
from bench.raft_processes import Group, OurGroup, Process, StockGroup
from bench.raft_processes import scratch as scratch_folder

Row = dict[str, float]
IN_FLIGHT = (1, 100, 2000)
COMMAND_BYTES = 200


def speed(folder: Path, seconds: float) -> bool:
    """Commands a second and their latency, from the leader and from a follower."""
    print(f"\n{'':8}{'from':>10}{'in flight':>10}{'a second':>10}", end="")
    print(f"{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    ours = OurGroup(folder)
    try:
        mine = _measure("swarmops", ours, seconds)
    finally:
        ours.close()
    stock = StockGroup()
    try:
        theirs = _measure("stock", stock, seconds)
    finally:
        stock.close()
    return _verdict(mine, theirs)


def _measure(name: str, group: Group, seconds: float) -> dict[tuple[str, int], Row]:
    rows = {}
    leader = group.leader()
    for place, member in (("leader", leader), ("follower", group.followers()[0])):
        for in_flight in IN_FLIGHT:
            row = rows[place, in_flight] = _load(member, in_flight, seconds)
            print(
                f"{name:<8}{place:>10}{in_flight:>10}{row['rate']:>10,.0f}"
                f"{row['p50_ms']:>9.2f}{row['p99_ms']:>9.2f}{row['max_ms']:>9.1f}"
                + (f"  {row['failed']:.0f} failed" if row["failed"] else ""),
                flush=True,
            )
    return rows


def _load(member: Process, in_flight: int, seconds: float) -> Row:
    before = member.ask("status")["applied"]
    row = member.ask(
        "load", in_flight=in_flight, bytes=COMMAND_BYTES, warm_up_s=1.0, length_s=seconds
    )
    applied = member.ask("status")["applied"] - before
    if applied < row["rate"] * seconds:
        raise SystemExit(f"{row['rate'] * seconds:.0f} answers, but only {applied} were applied")
    return row


def _verdict(ours: dict[tuple[str, int], Row], stock: dict[tuple[str, int], Row]) -> bool:
    pipelined = max(ours["leader", n]["rate"] for n in IN_FLIGHT)
    one, theirs = ours["leader", 1], stock["leader", 1]
    ratio = one["rate"] / theirs["rate"]
    return all(
        (
            goal("pipelined from the leader", pipelined, 25_000, at_least=True),
            goal("one at a time, times stock's", ratio, 5, at_least=True),
            goal("one at a time, p99 ms", one["p99_ms"], 6),
        )
    )


PARTS: dict[str, Callable[[Path, float], bool]] = {
    "speed": speed,
    "kills": kills,
    "steady": steady,
    "snapshot": snapshot,
    "idle": idle,
}
DEFAULT_S = {"speed": 5.0, "kills": 30.0, "steady": 600.0, "snapshot": 0.0, "idle": 30.0}


def main() -> int:
    """Run the parts; 1 when a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all when none is named")
    parser.add_argument("--seconds", type=float, help="length of a measurement (kills: how many)")
    parser.add_argument("--folder", help="where to keep the members' folders: on a real disk")
    arguments = parser.parse_args()
    kept = True
    for part in arguments.parts or PARTS:
        print(f"\n{part}: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load average {load()}, ", end="")
        print(f"{os.cpu_count()} processors")
        with scratch_folder(arguments.folder) as folder:
            kept &= PARTS[part](folder, arguments.seconds or DEFAULT_S[part])
        print(f"load average after: {load()}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
