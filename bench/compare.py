"""swarmops beside a Docker swarm, Ansible and pyinfra, on the same hosts; prints the ratios.

`python -m bench.compare [--runs N] [--only forming|pushing|tasks|leader]`. Every run measures all
kinds one after the other, so that they meet about the same load; what is printed are medians over
the runs (of `…_max_s` the greatest).
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from bench.ansible_swarm import measure_ansible
from bench.command_line import measure_help
from bench.docker_swarm import DockerSwarm
from bench.engine_alone import measure_draining_alone, measure_forming_alone
from bench.measuring import Result, load, medians
from bench.pushing import measure_push, measure_pyinfra
from bench.scenarios import measure_leader, measure_tasks
from bench.swarmops_apply import measure_apply, measure_docker_backend
from bench.swarmops_swarm import measure_containers, measure_leader_lost, measure_processes
from tests.lab import lab as labs
from tests.lab.lab import Lab


class Row(NamedTuple):
    """A line of the table: one number of ours, its counterpart, what ours has to keep to."""

    what: str
    ours: tuple[str, str]
    theirs: tuple[str, str] | None = None
    most: float | None = None  # ours may be no more
    times: float | None = None  # theirs must be so many times ours


ANSIBLE, APPLY, ON_DOCKER = "ansible", "apply", "apply, docker backend"
PYINFRA, PUSH, HELP = "pyinfra", "push", "--help"
FORMED_ALONE, DRAINED_ALONE = "formed by the engine alone", "drained by the engine alone"
DOCKER, PROCESSES, CONTAINERS = "docker", "processes", "containers"
DOCKER_LEADER, OUR_LEADER = "docker's leader", "swarmops' leader"
ROWS = (
    Row("form, native backend", (APPLY, "first_s"), (ANSIBLE, "running_s"), most=6.0),
    Row("  processor seconds", (APPLY, "first_cpu_s"), (ANSIBLE, "first_cpu_s")),
    Row("  bundle built first", (APPLY, "built_s"), (ANSIBLE, "running_s")),
    Row("  nothing to do", (APPLY, "again_s"), (ANSIBLE, "again_s"), most=1.2),
    Row("  processor seconds", (APPLY, "again_cpu_s"), (ANSIBLE, "again_cpu_s")),
    Row("form, docker backend", (ON_DOCKER, "first_s"), (ANSIBLE, "running_s"), times=2.5),
    Row("  processor seconds", (ON_DOCKER, "first_cpu_s"), (ANSIBLE, "first_cpu_s")),
    Row("  the engine alone", (ON_DOCKER, "first_s"), (FORMED_ALONE, "form_s")),
    Row("  processor seconds", (ON_DOCKER, "first_cpu_s"), (FORMED_ALONE, "form_cpu_s")),
    Row("  nothing to do", (ON_DOCKER, "again_s"), (ANSIBLE, "again_s"), times=5.0),
    Row("  processor seconds", (ON_DOCKER, "again_cpu_s"), (ANSIBLE, "again_cpu_s")),
    Row("push the bundle", (PUSH, "sent_s"), (PYINFRA, "first_s"), times=1.5),
    Row("  processor seconds", (PUSH, "sent_cpu_s"), (PYINFRA, "first_cpu_s")),
    Row("  and install it", (PUSH, "first_s"), (PYINFRA, "first_s")),
    Row("  processor seconds", (PUSH, "first_cpu_s"), (PYINFRA, "first_cpu_s")),
    Row("  nothing to do", (PUSH, "again_s"), (PYINFRA, "again_s")),
    Row("  processor seconds", (PUSH, "again_cpu_s"), (PYINFRA, "again_cpu_s")),
    Row("  and start it", (PUSH, "started_s"), (PYINFRA, "first_s")),
    Row("create 60 containers", (CONTAINERS, "create_60_s"), (DOCKER, "create_60_s"), times=1.0),
    Row("drain 20 containers", (CONTAINERS, "drain_20_s"), (DOCKER, "drain_20_s"), times=1 / 0.6),
    Row("  the engine alone", (CONTAINERS, "drain_20_s"), (DRAINED_ALONE, "drain_20_s")),
    Row("promote", (CONTAINERS, "promote_s"), (DOCKER, "promote_s"), times=1 / 0.7),
    Row("worker without power", (CONTAINERS, "worker_lost_s"), (DOCKER, "worker_lost_s"), times=10),
    Row("create 60 processes", (PROCESSES, "create_60_s"), (DOCKER, "create_60_s")),
    Row("drain 20 processes", (PROCESSES, "drain_20_s"), (DOCKER, "drain_20_s")),
    Row("promote", (PROCESSES, "promote_s"), (DOCKER, "promote_s")),
    Row("worker without power", (PROCESSES, "worker_lost_s"), (DOCKER, "worker_lost_s"), most=5.0),
    Row("manager's memory, MB", (PROCESSES, "manager_mb"), (DOCKER, "manager_mb"), most=90.0),
    Row("worker's memory, MB", (PROCESSES, "worker_mb"), (DOCKER, "worker_mb"), most=45.0),
    Row("  with containers", (CONTAINERS, "worker_mb"), (DOCKER, "worker_mb")),
    Row(
        "leader killed -9",
        (OUR_LEADER, "leader_lost_s"),
        (DOCKER_LEADER, "leader_lost_s"),
        most=1.0,
    ),
    Row("  the slowest", (OUR_LEADER, "leader_lost_max_s"), (DOCKER_LEADER, "leader_lost_max_s")),
    Row("  without power", (OUR_LEADER, "leader_power_s"), (DOCKER_LEADER, "leader_power_s")),
    Row("swarmops --help", (HELP, "help_s"), most=0.12),
)
PARTS: dict[str, dict[str, Callable[[Lab], Result]]] = {
    "forming": {
        ANSIBLE: measure_ansible,
        APPLY: measure_apply,
        ON_DOCKER: measure_docker_backend,
        FORMED_ALONE: measure_forming_alone,
        HELP: lambda _: measure_help(),
    },
    "pushing": {PYINFRA: measure_pyinfra, PUSH: measure_push},
    "tasks": {
        DOCKER: lambda lab: measure_tasks(lab, DockerSwarm()),
        CONTAINERS: measure_containers,
        DRAINED_ALONE: measure_draining_alone,
        PROCESSES: measure_processes,
    },
    "leader": {
        DOCKER_LEADER: lambda lab: measure_leader(lab, DockerSwarm()),
        OUR_LEADER: measure_leader_lost,
    },
}


def measure_all(lab: Lab, only: str) -> dict[str, Result]:
    """Measure everything once, or one part of it."""
    results = {}
    for part in [only] if only else PARTS:
        for name, measure in PARTS[part].items():
            before = load()
            results[name] = measure(lab)
            numbers = json.dumps({key: round(value, 2) for key, value in results[name].items()})
            print(f"  {name}, load {before} to {load()}: {numbers}", file=sys.stderr, flush=True)
    return results


def lines(results: dict[str, Result]) -> list[str]:
    """Return the table's lines; a ratio says how many times theirs is ours."""
    out = [f"{'':<22}{'swarmops':>9}{'other':>9}{'ratio':>8}{'goal':>10}"]
    for row in ROWS:
        if row.ours[0] not in results:
            continue
        ours = results[row.ours[0]][row.ours[1]]
        line, goal = f"{row.what:<22}{ours:9.2f}", None
        if row.theirs is not None:
            ratio = results[row.theirs[0]][row.theirs[1]] / ours
            line += f"{ratio * ours:9.2f}{ratio:7.1f}x"
            if row.times is not None:
                goal = (f">= {row.times:.1f}x", ratio >= row.times)
        if row.most is not None:
            goal = (f"<= {row.most:.2f}", ours <= row.most)
        if goal is not None:
            line = f"{line:<48}{goal[0]:>10}  {'kept' if goal[1] else 'MISSED'}"
        out.append(line)
    return out


def main() -> None:
    """Measure in the running lab, or in one started for this."""
    parser = argparse.ArgumentParser(description="swarmops beside Docker swarm, Ansible, pyinfra")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=list(PARTS), default="", help="one part")
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
        results = {name: medians([run[name] for run in measured]) for name in measured[0]}
        print(f"{started:%Y-%m-%d %H:%M} UTC, {runs} runs, {os.cpu_count()} processors")
        print(f"load average {before} before, {load()} after")
        print("\n".join(lines(results)))
        print(json.dumps(measured), flush=True)
    finally:
        if found is None:
            labs.down()


if __name__ == "__main__":
    main()
