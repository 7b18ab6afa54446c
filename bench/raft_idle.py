"""The part of ``bench.raft`` about doing nothing: what members, and whole daemons, cost then."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.raft_goals import goal
from bench.raft_processes import OurGroup, cpu_s, resident_mb
from tests.local.conftest import Local

_SETTLE_S = 5.0


def idle(folder: Path, seconds: float) -> bool:
    """Measure the processor's share of a raft member, and of a manager's and a worker's daemon."""
    _bare(seconds, "without TLS")
    _bare(seconds, "with TLS", "--tls")
    return _daemons(seconds) & _members(folder, seconds)


def _bare(seconds: float, how: str, *more: str) -> None:
    """Measure what the heartbeats alone cost on this machine, by whomever they are sent."""
    argv = [sys.executable, "-m", "bench.bare_heartbeats", *more]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            (share,) = _shares([process.pid], seconds).values()
        finally:
            process.kill()
    print(f"  the same heartbeats by bare asyncio, {how}: {share:.2f} % of a processor")


def _members(folder: Path, seconds: float) -> bool:
    group = OurGroup(folder)
    try:
        leader = group.leader()
        pids = {
            m.process.pid: "leader" if m is leader else "follower" for m in group.members.values()
        }
        shares = _shares(list(pids), seconds)
    finally:
        group.close()
    kept = [
        goal(f"idle raft member, {pids[pid]}, % of a processor", share, 1.0)
        for pid, share in shares.items()
    ]
    return all(kept)


def _daemons(seconds: float) -> bool:
    """Measure the demo's nodes without its service: three managers, two workers."""
    # A unix socket's path may have 107 bytes, and the demo's nodes are found by their folder.
    demo = Local(Path(tempfile.mkdtemp(prefix="swarmops-")))
    demo.playbook.write_text("swarm:\n  name: idle\n  managers: 3\n")
    try:
        demo.swarmops("apply", str(demo.inventory))
        roles = {name: row["manager_status"] or "worker" for name, row in demo.nodes().items()}
        pids = {demo.daemon_pid(name): role for name, role in roles.items()}
        shares = _shares(list(pids), seconds)
        sizes = {pid: resident_mb(pid) for pid in pids}
    finally:
        demo.swarmops("destroy", "--yes", str(demo.inventory))
        shutil.rmtree(demo.folder)
    kept = True
    for pid, share in shares.items():
        print(f"  daemon, {pids[pid].lower()}: {sizes[pid]:.1f} MB resident")
        kept &= goal(f"idle daemon, {pids[pid].lower()}, % of a processor", share, 1.0)
    return kept


def _shares(pids: list[int], seconds: float) -> dict[int, float]:
    """Return each process's share of a processor in so many seconds, in per cent."""
    time.sleep(_SETTLE_S)
    before = {pid: cpu_s(pid) for pid in pids}
    time.sleep(seconds)
    return {pid: 100 * (cpu_s(pid) - before[pid]) / seconds for pid in pids}
