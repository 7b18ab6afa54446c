"""swarmops beside a Docker swarm and Ansible, in one go on the same hosts; prints the ratios.

`python -m bench.compare [--runs N] [--only forming|faults]`. Every run measures all kinds one after
the other, so that they meet about the same load; what is printed are medians over the runs (of
`…_max_s` the greatest).
"""

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from typing import NamedTuple

from bench.ansible_swarm import measure_ansible
from bench.command_line import measure_help
from bench.docker_swarm import measure_docker
from bench.measuring import Result, load, medians
from bench.swarmops_apply import measure_apply
from bench.swarmops_swarm import measure_swarmops
from tests.lab import lab as labs
from tests.lab.lab import Lab


class Row(NamedTuple):
    """A line of the table: one number of ours, its counterpart, what ours has to keep to."""

    what: str
    ours: tuple[str, str]
    theirs: tuple[str, str] | None = None
    goal: float | None = None


DOCKER, ANSIBLE, APPLY, OURS, HELP = "docker", "ansible", "swarmops apply", "swarmops", "--help"
ROWS = (
    Row("form 6 bare hosts", (APPLY, "first_s"), (ANSIBLE, "first_s"), 6.0),
    Row("  processor seconds", (APPLY, "first_cpu_s"), (ANSIBLE, "first_cpu_s")),
    Row("  bundle built first", (APPLY, "built_s"), (ANSIBLE, "first_s")),
    Row("nothing to do", (APPLY, "again_s"), (ANSIBLE, "again_s"), 1.2),
    Row("  processor seconds", (APPLY, "again_cpu_s"), (ANSIBLE, "again_cpu_s")),
    Row("leader killed -9", (OURS, "leader_lost_s"), (DOCKER, "leader_lost_s"), 1.0),
    Row("  the slowest", (OURS, "leader_lost_max_s"), (DOCKER, "leader_lost_max_s")),
    Row("leader without power", (OURS, "leader_power_s"), (DOCKER, "leader_power_s")),
    Row("worker without power", (OURS, "worker_lost_s"), (DOCKER, "worker_lost_s"), 5.0),
    Row("create 60 tasks", (OURS, "create_60_s"), (DOCKER, "create_60_s")),
    Row("drain 20 tasks", (OURS, "drain_20_s"), (DOCKER, "drain_20_s")),
    Row("promote", (OURS, "promote_s"), (DOCKER, "promote_s")),
    Row("manager's memory, MB", (OURS, "manager_mb"), (DOCKER, "manager_mb"), 90.0),
    Row("worker's memory, MB", (OURS, "worker_mb"), (DOCKER, "worker_mb"), 45.0),
    Row("swarmops --help", (HELP, "help_s"), None, 0.12),
)


def measure_all(lab: Lab, only: str) -> dict[str, Result]:
    """Measure everything once, or one half of it."""
    forming = {ANSIBLE: lambda: measure_ansible(lab), APPLY: lambda: measure_apply(lab)}
    faults = {DOCKER: lambda: measure_docker(lab), OURS: lambda: measure_swarmops(lab)}
    parts = {"forming": forming, "faults": faults, "": forming | faults}
    measures = {**parts[only], HELP: measure_help}
    results = {}
    for name, measure in measures.items():
        before = load()
        results[name] = measure()
        numbers = json.dumps({key: round(value, 2) for key, value in results[name].items()})
        print(f"  {name}, load {before} to {load()}: {numbers}", file=sys.stderr, flush=True)
    return results


def lines(results: dict[str, Result]) -> list[str]:
    """Return the table's lines; a ratio says how many times theirs is ours."""
    out = [f"{'':<22}{'swarmops':>9}{'other':>9}{'ratio':>8}{'goal':>7}"]
    for row in ROWS:
        if row.ours[0] not in results:
            continue
        ours = results[row.ours[0]][row.ours[1]]
        line = f"{row.what:<22}{ours:9.2f}"
        if row.theirs is not None:
            theirs = results[row.theirs[0]][row.theirs[1]]
            line += f"{theirs:9.2f}{theirs / ours:7.1f}x"
        if row.goal is not None:
            line = f"{line:<48}{row.goal:7.2f}  {'kept' if ours <= row.goal else 'MISSED'}"
        out.append(line)
    return out


def main() -> None:
    """Measure in the running lab, or in one started for this."""
    parser = argparse.ArgumentParser(description="swarmops beside Docker swarm and Ansible")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=["forming", "faults"], default="", help="one half")
    arguments = parser.parse_args()
    runs = arguments.runs
    found = labs.running()
    lab = found or labs.up()[0]
    started, before = datetime.now(UTC), load()
    try:
        measured = []
        for number in range(1, runs + 1):
            print(f"run {number} of {runs}", file=sys.stderr, flush=True)
            measured.append(measure_all(lab, arguments.only))
    finally:
        if found is None:
            labs.down()
    results = {name: medians([run[name] for run in measured]) for name in measured[0]}
    print(f"{started:%Y-%m-%d %H:%M} UTC, {runs} runs, {os.cpu_count()} processors")
    print(f"load average {before} before, {load()} after")
    print("\n".join(lines(results)))
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
