"""The nemesis: what goes wrong, when and to whom, all drawn from one generator.

Each seed draws which kinds of fault it has and how often they come (swarm testing: runs with few
kinds go deeper than runs with all). Nothing here checks anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.sim.raft.member import SimMember
    from tests.sim.raft.world import World

_RESOLUTION_S = 1e-6


class Nemesis:
    """Draws a fault, does it, waits, until told to stop."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.fork()
        self._kinds: dict[str, Callable[[], None]] = {
            "kill": self._kill,
            "power loss": self._power,
            "power loss in the middle of a disk job": self._cut_later,
            "all lose power": self._power_all,
            "isolate": self._isolate,
            "split": self._split,
            "one-way cut": self._one_way,
            "partial cut": self._partial,
            "heal": self._heal,
            "connection resets": self._resets,
            "slow link": self._slow_link,
            "slow disk": self._slow_disk,
            "stuck disk": self._stuck_disk,
            "full disk": self._full_disk,
            "failing sync": self._bad_sync,
            "pause": self._pause,
            "add a member": self._add,
            "remove a member": self._remove,
            "replace a lost machine": self._lose,
            "hand over": self._transfer,
            "snapshot now": self._snapshot,
        }
        share = self._rng.choice((0.2, 0.4, 0.7, 1.0))
        self._enabled = [kind for kind in self._kinds if self._rng.random() < share] or ["kill"]
        self._pause_s = self._rng.choice((0.15, 0.5, 1.5))

    async def run(self, duration_s: float) -> None:
        """Do harm for so long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + duration_s
        # The clock doesn't move for less than its resolution: what is left then is nothing.
        while (left := end - loop.time()) > _RESOLUTION_S:
            await asyncio.sleep(min(left, self._rng.expovariate(1 / self._pause_s)))
            self.do(self._rng.choice(self._enabled))

    def do(self, kind: str) -> None:
        """Do one thing."""
        self._kinds[kind]()

    def _note(self, kind: str, *members: SimMember) -> None:
        self._world.counts[kind] += 1
        names = " ".join(m.name for m in members)
        self._world.trace.add("fault", "%s %s", kind, names)

    def _one(self) -> SimMember | None:
        """Choose a running member, often the leader."""
        leader = self._world.leader()
        if leader is not None and self._rng.random() < 0.4:
            return leader
        return self._world.any_running(self._rng)

    def _later(self, low_s: float, high_s: float, work: Callable[[], object]) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(self._rng.uniform(low_s, high_s), work)

    # Crashes.

    def _kill(self) -> None:
        if (member := self._one()) is not None:
            self._note("kill", member)
            self._world.crash(member, power=False)

    def _power(self) -> None:
        if (member := self._one()) is not None:
            self._note("power loss", member)
            self._world.crash(member, power=True)

    def _cut_later(self) -> None:
        if (member := self._one()) is not None:
            self._note("cut in the middle of a disk job", member)
            member.disk.cut_after = self._rng.randrange(1, 12)

    def _power_all(self) -> None:
        running = self._world.running()
        self._note("power loss of all at once", *running)
        for member in running:
            self._world.crash(member, power=True)

    def _pause(self) -> None:
        if (member := self._one()) is not None and not member.process.is_paused:
            self._note("process paused", member)
            process = member.process
            process.pause()
            self._later(0.05, 4.0, process.resume)

    # The network.

    def _ids(self) -> list[str]:
        return [m.me.raft_id for m in self._world.members.values() if m.fate != "out"]

    def _isolate(self) -> None:
        if (member := self._one()) is not None:
            self._note("member isolated", member)
            me, others = member.me.raft_id, self._ids()
            self._world.network.cut_links([(me, o) for o in others] + [(o, me) for o in others])
            self._later(0.2, 5.0, self._world.network.heal)

    def _split(self) -> None:
        ids = self._ids()
        self._rng.shuffle(ids)
        at = self._rng.randrange(1, max(2, len(ids)))
        self._note("group split")
        pairs = [(a, b) for a in ids[:at] for b in ids[at:]]
        self._world.network.cut_links(pairs + [(b, a) for a, b in pairs])
        self._later(0.2, 5.0, self._world.network.heal)

    def _one_way(self) -> None:
        if (member := self._one()) is not None:
            self._note("one-way cut", member)
            me, others = member.me.raft_id, self._ids()
            links = [(me, o) for o in others]
            if self._rng.random() < 0.5:
                links = [(o, me) for o in others]
            self._world.network.cut_links(links)
            self._later(0.2, 5.0, self._world.network.heal)

    def _partial(self) -> None:
        ids = self._ids()
        pairs = [(a, b) for a in ids for b in ids if a < b and self._rng.random() < 0.35]
        self._note("partial cut")
        self._world.network.cut_links(pairs + [(b, a) for a, b in pairs])
        self._later(0.2, 5.0, self._world.network.heal)

    def _heal(self) -> None:
        self._world.network.heal()

    def _resets(self) -> None:
        self._world.network.reset()

    def _slow_link(self) -> None:
        ids = self._ids()
        link = (self._rng.choice(ids), self._rng.choice(ids))
        self._note("link slowed down")
        self._world.network.slow[link] = self._rng.choice((0.02, 0.1, 0.4))
        self._later(0.5, 5.0, lambda: self._world.network.slow.pop(link, None))

    # Disks.

    def _slow_disk(self) -> None:
        if (member := self._one()) is not None:
            self._note("disk slowed down", member)
            usual, member.speed.mean_s = 0.001, self._rng.choice((0.02, 0.1, 0.5))
            self._later(0.5, 5.0, lambda: setattr(member.speed, "mean_s", usual))

    def _stuck_disk(self) -> None:
        if (member := self._one()) is not None:
            self._note("disk stuck", member)
            member.speed.is_stuck = True
            self._later(0.5, 9.0, lambda: setattr(member.speed, "is_stuck", False))

    def _full_disk(self) -> None:
        if (member := self._one()) is not None:
            self._note("disk full", member)
            member.disk.is_full = True
            self._later(0.2, 5.0, lambda: setattr(member.disk, "is_full", False))

    def _bad_sync(self) -> None:
        if (member := self._one()) is not None:
            member.disk.bad_syncs = self._rng.randrange(1, 3)

    # What operators do.

    def _add(self) -> None:
        if len(self._world.wanted()) <= self._world.size:
            self._note("member added")
            self._world.order(self._world.join())

    def _remove(self) -> None:
        wanted = self._world.wanted()
        if len(wanted) > min(3, self._world.size - 1):
            member = self._rng.choice(wanted)
            asked = self._world.any_running(self._rng)
            if asked is not None:
                self._note("member removed", member)
                work = asked.raft.remove_member(member.me.raft_id, timeout_s=3)
                self._world.order(self._world.ask_quietly(asked, work))

    def _lose(self) -> None:
        """Lose a machine for ever, when the group can bear it, and have it replaced."""
        lost = [m for m in self._world.members.values() if m.fate == "lost"]
        all_gone = {m.me.raft_id for m in lost} <= self._world.removed()
        if not self._is_changing() and all_gone and (member := self._one()) is not None:
            self._note("machine lost for ever and replaced", member)
            member.fate = "lost"
            self._world.crash(member, power=True)
            self._world.order(self._world.replace(member))

    def _is_changing(self) -> bool:
        """Say whether a removal is under way, perhaps uncommitted: one of two can't be lost."""
        world = self._world
        ids = {m.me.raft_id for m in world.wanted()}
        in_effect = [m.raft._running.engine.configuration for m in world.running() if m.raft._run]
        settled = all(c.voter_ids == ids and not c.learners for c in in_effect)
        return bool(world.orders) or not world.is_whole() or not settled

    def _transfer(self) -> None:
        asked = self._world.any_running(self._rng)
        if asked is not None:
            self._note("leadership handed over")
            to = None
            if self._rng.random() < 0.5:
                to = self._rng.choice(self._world.wanted()).me.raft_id
            work = asked.raft.transfer_leadership(to, timeout_s=2)
            self._world.order(self._world.ask_quietly(asked, work))

    def _snapshot(self) -> None:
        if (member := self._one()) is not None and member.raft._run is not None:
            self._note("snapshot forced", member)
            member.raft.snapshot_now()
