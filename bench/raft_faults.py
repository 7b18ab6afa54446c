"""The parts of ``bench.raft`` about what must not happen: long pauses and needless elections."""

from __future__ import annotations

import random
import statistics
import time
from pathlib import Path
from typing import Any

from bench.raft_goals import goal
from bench.raft_load import now_s
from bench.raft_processes import OurGroup, Process, resident_mb

STATE_BYTES, STATE_TASKS = 100_000_000, 100_000


def kills(folder: Path, count: float) -> bool:
    """Kill -9 of the leader, again and again; how long until the next commit."""
    group = OurGroup(folder)
    rng = random.Random(1)
    took_s = []
    try:
        for member in group.members.values():
            member.ask("write", pause_s=0.0)
        for _ in range(int(count)):
            leader = group.leader()
            _settle(group)
            time.sleep(0.5 + rng.random())
            at_s = now_s()
            group.kill(leader.number)
            took_s.append(_next_commit(list(group.members.values()), at_s) - at_s)
            group.start(leader.number).ask("write", pause_s=0.0)
    finally:
        group.close()
    print(f"  {len(took_s)} kills, s: ", end="")
    print(" ".join(f"{s:.2f}" for s in sorted(took_s)))
    median = goal("kill -9 to next commit, median s", statistics.median(took_s), 0.6)
    return goal("kill -9 to next commit, most s", max(took_s), 1.5) and median


def _settle(group: OurGroup) -> None:
    """Wait until all members have applied what the furthest has now."""
    furthest = max(m.ask("status")["applied"] for m in group.members.values())
    while any(m.ask("status")["applied"] < furthest for m in group.members.values()):
        time.sleep(0.05)


def _next_commit(members: list[Process], at_s: float) -> float:
    """Return when the first command that was sent after a moment was answered anywhere."""
    for member in members:
        member.tell("written", after_s=at_s)
    answers = [pair for member in members for pair in member.answer()["answers"]]
    return min(float(answered) for sent, answered in answers if sent > at_s)


def steady(folder: Path, seconds: float) -> bool:
    """Full load for long: nobody else is elected, and all go on."""
    group = OurGroup(folder)
    try:
        leader = group.leader()
        before = leader.ask("status")
        for member in group.members.values():
            in_flight = 1000 if member is leader else 200
            member.tell("load", in_flight=in_flight, bytes=200, warm_up_s=1.0, length_s=seconds)
        numbers = {m.number: m.answer() for m in group.members.values()}
        after = {m.number: m.ask("status") for m in group.members.values()}
        sizes = {m.number: resident_mb(m.process.pid) for m in group.members.values()}
        disk = {n: _folder_mb(group.folder(n)) for n in group.members}
    finally:
        group.close()
    for number, row in numbers.items():
        print(
            f"  {'leader' if number == leader.number else 'follower':<9}"
            f"{row['rate']:>8,.0f}/s  p50 {row['p50_ms']:.1f}  p99 {row['p99_ms']:.1f}"
            f"  most {row['max_ms']:.0f} ms  {row['failed']:.0f} failed;"
            f" loop held at most {after[number]['loop_late_ms']:.0f} ms;"
            f" {sizes[number]:.0f} MB resident, {disk[number]:.0f} MB on disk"
        )
    total = sum(row["rate"] for row in numbers.values())
    print(f"  {total:,.0f} commands a second in {seconds:.0f} s")
    terms = max(status["term"] for status in after.values()) - before["term"]
    failed = goal("failed commands", sum(row["failed"] for row in numbers.values()), 0)
    return goal(f"elections in {seconds:.0f} s of full load", terms, 0) and failed


def snapshot(folder: Path, _seconds: float) -> bool:
    """100 MB of a real store: taken, and installed on two members, while a client writes."""
    group = OurGroup(folder, state="store")
    try:
        group.kill(3)
        leader = group.leader()
        filled = leader.ask("fill", tasks=STATE_TASKS, bytes=STATE_BYTES)
        print(f"  {STATE_TASKS:,} tasks are {filled['tasks_bytes'] / 1e6:.0f} MB of it")
        before = [m.ask("status") for m in group.members.values()]
        for member in group.members.values():
            member.ask("write", pause_s=0.005)
        time.sleep(1)
        _report("before", group)
        taken = leader.ask("snapshot")
        print(f"  taken: {taken['bytes'] / 1e6:.0f} MB in {taken['took_s']:.1f} s")
        _report("while it was taken", group)
        for number, what in ((3, "a returning member"), (4, "a new member")):
            began_s = now_s()
            if number == 3:
                group.start(number)
            else:
                group.join(number)
            _catch_up(group, group.members[number])
            print(f"  {what} has it after {now_s() - began_s:.1f} s")
            _report(f"while {what} came", group)
        after = [m.ask("status") for m in group.members.values()]
    finally:
        group.close()
    terms = max(s["term"] for s in after) - max(s["term"] for s in before)
    return goal("elections", terms, 0)


def _catch_up(group: OurGroup, member: Process) -> None:
    target = group.leader().ask("status")["applied"]
    while member.ask("status")["applied"] < target:
        time.sleep(0.05)


def _report(what: str, group: OurGroup) -> None:
    """Tell how the writes went on, and how long each event loop was held."""
    took: list[float] = []
    held: list[Any] = []
    for member in group.members.values():
        took += [answered - sent for sent, answered in member.ask("written")["answers"]]
        held.append(f"{member.ask('status')['loop_late_ms']:.0f}")
    took.sort()
    print(
        f"    {what}: {len(took)} writes, p50 {1000 * took[len(took) // 2]:.1f},"
        f" most {1000 * took[-1]:.0f} ms; loops held at most {', '.join(held)} ms"
    )


def _folder_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
