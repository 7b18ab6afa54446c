"""Short stories in a quiet group: one fault each, placed by hand, and what must come of it.

Where chance would take many seeds to come to a situation, a story goes straight there. Told by
tests, and under mutations of the code, which they must notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from swarmops.raft import Member, Timing
from swarmops.raft.messages import Message, SnapshotAck, SnapshotChunk, TimeoutNow
from tests.sim.raft.clients import Clients
from tests.sim.raft.member import SimMember
from tests.sim.raft.trace import Violation
from tests.sim.raft.world import World, play

Story = Callable[[World], Coroutine[Any, Any, None]]


def tell(story: Story, *, seed: int = 1, size: int = 3) -> None:
    """Play a story in a quiet world of ``size`` members; raises Failure."""
    world = World(seed)
    world.size = size
    if seed % 2:
        world.timing = Timing()

    async def whole(world: World) -> None:
        await world.begin(drift=0.0)
        await world.form()
        world.clients = Clients(world)
        await story(world)

    play(world, seed, whole)


async def _write(world: World, count: int) -> None:
    for _ in range(count):
        member = world.leader() or world.running()[0]
        await world.clients.write(member, 1, 5.0)


async def _leader(world: World) -> SimMember:
    await world.until(lambda: world.leader() is not None, 10, "a leader")
    leader = world.leader()
    assert leader is not None
    return leader


async def _restart_with(world: World, timing: Timing) -> None:
    world.timing = timing
    for member in list(world.running()):
        world.crash(member, power=False)
    await world.until(lambda: len(world.running()) == world.size, 10, "all run")


async def _joined(world: World, leader: SimMember) -> SimMember:
    """Let the leader take in a new member, and start it."""
    member = world.new_member()
    peers = await leader.raft.add_member(member.me, timeout_s=10)
    assert await member.start("join", peers)
    member.fate = "member"
    return member


def _votes(member: SimMember) -> bool:
    return member.me in member.raft.status().voters


async def followers_come_and_go(world: World) -> None:
    """Isolated, cut one way, paused or without power, no follower costs the leader its office."""
    leader = await _leader(world)
    term = leader.raft.status().term
    rng = world.fork()
    for _ in range(6):
        follower = rng.choice([m for m in world.running() if m is not leader])
        me, others = follower.me.raft_id, [r for r in world.members if r != follower.me.raft_id]
        how = rng.randrange(5)
        if how < 3:
            world.network.cut_links([(me, o) for o in others] if how != 1 else [])
            world.network.cut_links([(o, me) for o in others] if how != 0 else [])
        elif how == 3:
            follower.process.pause()
        else:
            world.crash(follower, power=True)
        await asyncio.sleep(rng.uniform(0.5, 5.0))
        world.network.heal()
        follower.process.resume()
        await world.until(lambda: len(world.running()) == world.size, 10, "all run")
        await asyncio.sleep(2.0)
        status = leader.raft.status()
        if status.term != term or not status.is_leader:
            raise Violation(f"a returning follower deposed the leader: term {status.term}")


async def a_follower_loses_sight_of_the_leader_alone(world: World) -> None:
    """Cut off from the leader, but not from the others who hear it, it is elected by nobody."""
    leader = await _leader(world)
    term = leader.raft.status().term
    me = next(m for m in world.running() if m is not leader).me.raft_id
    world.network.cut_links([(me, leader.me.raft_id), (leader.me.raft_id, me)])
    await asyncio.sleep(8.0)
    await world.until(lambda: True, 1, "")
    if leader.raft.status().term != term:
        raise Violation("who lost sight of the leader deposed it")


async def a_deposed_leaders_tail_gives_way(world: World) -> None:
    """What it appended alone is replaced by what the others agreed on meanwhile."""
    old = await _leader(world)
    me, others = old.me.raft_id, [r for r in world.members if r != old.me.raft_id]
    await _write(world, 3)
    world.network.cut_links([(me, o) for o in others] + [(o, me) for o in others])
    for _ in range(5):
        world.spawn(world.clients.write(old, 2, 1.0))
        await asyncio.sleep(0.05)
    await world.until(lambda: world.leader() not in {None, old}, 5, "another leads")
    await _write(world, 8)
    world.network.heal()
    applied = max(world.invariants.applied)
    await world.until(lambda: old.raft.status().applied_index >= applied, 3, "it catches up")


async def an_isolated_leader_steps_down(world: World) -> None:
    """It serves no read after its lease, before another leads, and is none any more after 1 s."""
    old = await _leader(world)
    me, others = old.me.raft_id, [r for r in world.members if r != old.me.raft_id]
    world.network.cut_links([(me, o) for o in others] + [(o, me) for o in others])
    cut_at = asyncio.get_running_loop().time()
    await world.until(lambda: not old.raft.status().is_leader, 1.0, "the lease ends")
    assert world.leader() is None, "another leads already"
    await world.until(lambda: old.raft.status().leader is None, 1.5, "it steps down")
    await world.until(lambda: world.leader() is not None, 3.0, "another leads")
    assert asyncio.get_running_loop().time() - cut_at < 3.0


async def a_leader_sleeps_through_its_lease(world: World) -> None:
    """Its machine stands still while another is elected: awake, it serves nothing by its lease."""
    old = await _leader(world)
    old.process.pause()
    await world.until(lambda: world.leader() not in {None, old}, 5, "another leads")
    old.process.resume()
    await world.until(lambda: not old.raft.status().is_leader, 1, "it knows")
    await _write(world, 3)
    await world.settle()


async def a_leader_is_cut_off_while_it_hands_over(world: World) -> None:
    """Its order may break the votes' stickiness: it serves no read by lease, nor says it leads."""
    old = await _leader(world)
    await asyncio.sleep(1.0)  # until all are connected with each other
    me, others = old.me.raft_id, [r for r in world.members if r != old.me.raft_id]
    links = [(me, o) for o in others] + [(o, me) for o in others]
    observe = world.network.observe

    def watch(sender: str, to: str, message: Message) -> None:
        observe(sender, to, message)
        if isinstance(message, TimeoutNow):
            delay = 3.1 * world.network.delay_s
            asyncio.get_running_loop().call_later(delay, world.network.cut_links, links)

    world.network.observe = watch
    heir = next(m for m in world.running() if m is not old)
    world.spawn(world.ask_quietly(heir, heir.raft.transfer_leadership(heir.me.raft_id)))

    def another_leads() -> bool:
        leaders = [m for m in world.running() if m.raft.status().is_leader]
        assert len(leaders) < 2, "two members say that they lead"
        return bool(leaders) and leaders[0] is not old

    await world.until(another_leads, 5, "another leads")


async def who_was_away_for_a_moment_gets_no_snapshot(world: World) -> None:
    """A leader that is killed and comes back gets the entries it lacks, though logs are compacted.

    Found by a mutation that nobody noticed: to a member that connects, a new leader began from the
    first entry, which is a whole snapshot once the log is compacted.
    """
    timing = msgspec.structs.replace(Timing(), snapshot_entries=50, trailing_entries=40)
    await _restart_with(world, timing)
    old = await _leader(world)
    await _write(world, 120)
    _down(world, old)
    await _leader(world)
    await _write(world, 5)
    sent: list[Message] = []
    observe = world.network.observe

    def watch(sender: str, to: str, message: Message) -> None:
        observe(sender, to, message)
        if isinstance(message, SnapshotChunk):
            sent.append(message)

    world.network.observe = watch
    await world.restart(old)
    await asyncio.sleep(1.0)
    await world.settle()
    if sent:
        raise Violation("a whole snapshot for five entries")


async def an_absent_joiner_stalls_nobody(world: World) -> None:
    """Added and never seen, a member changes no majority: one of two others may still go."""
    leader = await _leader(world)
    for number in range(3):
        absent = Member(f"{number:016x}", f"absent{number}", "nowhere")
        await leader.raft.add_member(absent, timeout_s=3)
    if not await world.clients.write(leader, 1, 3.0):
        raise Violation("absent joiners stall the group")


async def a_full_disk_costs_the_leader_its_office(world: World) -> None:
    """Another leads while the disk is full; with room, all is well again, nothing is lost."""
    old = await _leader(world)
    await _write(world, 3)
    old.disk.is_full = True
    world.spawn(world.clients.write(old, 1, 5.0))
    await world.until(lambda: world.leader() not in {None, old}, 5, "another leads")
    if old.raft.status().disk_error is None:
        raise Violation("the full disk is not told")
    await _write(world, 3)
    old.disk.is_full = False
    await world.until(lambda: old.raft.status().disk_error is None, 5, "it writes again")
    await world.settle()


def _down(world: World, member: SimMember) -> None:
    """Take a member down; it comes back only when told."""
    fate, member.fate = member.fate, "out"
    world.crash(member, power=False)
    member.fate = fate


async def a_killed_run_left_unsynced_writes(world: World) -> None:
    """Killed between write and sync, started, then without power: what it promised is there.

    Found by seeds 10, 47 and 67: the log was read through the kernel's memory and taken for safe.
    """
    last = world.running()[-1]
    for cut_after in range(1, 10):
        await _write(world, 2)
        world.cuts_take_power = False
        last.disk.cut_after = cut_after
        await world.until_running(last, run=last.runs + 1, ask=lambda: _write(world, 1))
        await _write(world, 1)
        await asyncio.sleep(0.3)
        world.crash(last, power=True)
        await world.until_running(last)


async def a_joiner_crashes_before_it_knows_anything(world: World) -> None:
    """Its peers stand beside its term: it dials them again, and learns that it was removed.

    Found by seeds 4, 5, 15 and 31: it knew nobody, so it listened to nobody, for ever.
    """
    leader = await _leader(world)
    joiner = world.new_member()
    peers = await leader.raft.add_member(joiner.me)
    me, others = joiner.me.raft_id, [m.raft_id for m in peers if m != joiner.me]
    world.network.cut_links([(me, o) for o in others] + [(o, me) for o in others])
    assert await joiner.start("join", peers)
    joiner.fate = "member"
    _down(world, joiner)
    leader = await _leader(world)
    await leader.raft.remove_member(me)
    await asyncio.sleep(8.0)
    world.network.heal()
    world.spawn(world.restart(joiner))
    await world.until(lambda: joiner.fate == "out", 10, "it learns of its removal")


async def a_member_was_away_while_the_group_changed(world: World) -> None:
    """The leader joined in its absence; its log is what would make it known.

    Found by seeds 18 and 169: its connection was refused as a stranger's; the member stayed behind.
    """
    away = world.running()[-1]
    _down(world, away)
    await world.join()
    newest = world.running()[-1]
    await world.until(lambda: newest.me in newest.raft.status().voters, 20, "the newest votes")
    await _leader(world)
    await newest.raft.transfer_leadership(newest.me.raft_id, timeout_s=5)
    await newest.raft.wait(lambda s: s.is_leader, timeout_s=5)
    await world.restart(away)
    await world.until(lambda: newest.me in away.raft.status().voters, 10, "it knows the newest")


async def a_joiner_was_away_while_all_others_were_replaced(world: World) -> None:
    """Whoever leads then is a stranger to it, and is heard once it has given its leader up.

    Found by seed 5691: who can't stand for election believed in the leader it knew for ever.
    """
    leader = await _leader(world)
    old = world.running()
    joiner = await _joined(world, leader)
    joiner.disk.is_full = True  # it acknowledges nothing, so nobody makes it a voter
    await world.until(lambda: joiner.raft.status().leader is not None, 10, "it has heard a leader")
    joiner.process.pause()
    new = [await _joined(world, leader) for _ in old]
    await world.until(lambda: all(_votes(member) for member in new), 20, "the new ones vote")
    for member in old:
        await new[0].raft.remove_member(member.me.raft_id, timeout_s=10)
    await world.until(lambda: all(m.fate == "out" for m in old), 20, "they know of their removal")
    joiner.disk.is_full = False
    joiner.process.resume()
    await world.until(lambda: joiner.me in new[0].raft.status().voters, 20, "the joiner votes")


class _Load:
    """Writers on a member, until stopped: as many as there are in flight."""

    def __init__(self, world: World, member: SimMember, writers: int, pause_s: float = 0.0) -> None:
        self._is_over = False
        self._pause_s = pause_s
        self._rng = world.fork()
        self.written = 0
        self._tasks = [world.spawn(self._write(world, member)) for _ in range(writers)]

    async def _write(self, world: World, member: SimMember) -> None:
        while not self._is_over:
            key = 1000 + world.clients.history.new_id()
            if await world.clients.write(member, key, 5.0):
                self.written += 1
            await asyncio.sleep(self._pause_s * 2 * self._rng.random())

    async def stop(self) -> None:
        """Let each have its last answer."""
        self._is_over = True
        await asyncio.gather(*self._tasks)


async def a_joiner_becomes_a_voter_under_load(world: World) -> None:
    """Though it never has the whole log: it takes what there is faster than it comes.

    Found by reading: to be within 100 entries of a log that grows by thousands a second is chance.
    """
    await _restart_with(world, Timing())
    world.network.delay_s = 0.08
    load = _Load(world, await _leader(world), 400, pause_s=0.15)
    await world.until(lambda: load.written > 400, 10, "load")
    world.spawn(world.join())
    world.size += 1
    await world.until(world.is_whole, 6, "the joiner votes")
    await load.stop()


async def who_is_slower_than_the_snapshots_come_catches_up(world: World) -> None:
    """While it gets a snapshot, the log keeps what it will need next: one snapshot is enough.

    Found by reading: the log was cut behind each newer snapshot, so that it needed that one too.
    """
    timing = msgspec.structs.replace(Timing(), snapshot_entries=200, trailing_entries=20)
    await _restart_with(world, timing)
    leader = await _leader(world)
    away = next(m for m in world.running() if m is not leader)
    _down(world, away)
    await _write(world, 300)
    load = _Load(world, leader, 5, pause_s=0.02)
    away.speed.mean_s = 0.3
    sent: set[int] = set()
    observe = world.network.observe

    def watch(sender: str, to: str, message: Message) -> None:
        observe(sender, to, message)
        if isinstance(message, SnapshotChunk):
            sent.add(message.index)

    world.network.observe = watch
    await world.restart(away)
    await world.until(lambda: bool(sent), 10, "a snapshot is sent")
    before = load.written

    def close() -> bool:
        behind = leader.raft.status().commit_index - away.raft.status().applied_index
        return len(sent) > 0 and behind < timing.snapshot_entries

    await world.until(close, 15, "it catches up")
    if load.written - before < timing.snapshot_entries or len(sent) > 1:
        raise Violation(
            f"{len(sent)} snapshots were sent while {load.written - before} were written"
        )
    await load.stop()


async def a_leader_whose_disk_hangs_hands_over(world: World) -> None:
    """It neither writes nor fails: nothing can be committed here, so that another leads.

    Found by reading: its heartbeats went on, so that one disk stopped the whole group.
    """
    old = await _leader(world)
    await _write(world, 3)
    old.speed.is_stuck = True
    world.spawn(world.clients.write(old, 1, 5.0))
    await world.until(lambda: world.leader() not in {None, old}, 8, "another leads")
    await _write(world, 3)
    old.speed.is_stuck = False
    await world.settle()


async def an_old_snapshot_comes_again(world: World) -> None:
    """Its chunks were under way twice, and arrive when the member is long past them: it stays."""
    await _restart_with(
        world, msgspec.structs.replace(Timing(), snapshot_entries=50, trailing_entries=5)
    )
    leader = await _leader(world)
    away = next(m for m in world.running() if m is not leader)
    _down(world, away)
    await asyncio.sleep(1.5)
    await _write(world, 120)
    chunks: list[SnapshotChunk] = []
    observe = world.network.observe

    def watch(sender: str, to: str, message: Message) -> None:
        observe(sender, to, message)
        if isinstance(message, SnapshotChunk):
            chunks.append(message)

    world.network.observe = watch
    await world.restart(away)
    await world.until(lambda: bool(chunks) and chunks[-1].last, 10, "a snapshot is sent")
    await _write(world, 20)
    await world.settle()
    for chunk in chunks:
        away.process.run(away.raft._running.listener.message_received, leader.me.raft_id, chunk)
        await asyncio.sleep(0.1)
    await _write(world, 1)
    await world.settle()


async def _snapshot_under_way(
    world: World, meddle: Callable[[SimMember, SimMember, SnapshotChunk], None]
) -> None:
    """Have a snapshot of many chunks sent; ``meddle(leader, follower, chunk)`` at each one."""
    timing = msgspec.structs.replace(Timing(), snapshot_entries=300, trailing_entries=5)
    await _restart_with(world, timing)
    leader = await _leader(world)
    away = next(m for m in world.running() if m is not leader)
    _down(world, away)
    await asyncio.sleep(1.5)
    load = _Load(world, leader, 10)
    await world.until(lambda: load.written > 900, 30, "a large state")
    await load.stop()
    observe = world.network.observe

    def watch(sender: str, to: str, message: Message) -> None:
        observe(sender, to, message)
        if isinstance(message, SnapshotChunk):
            meddle(leader, away, message)

    world.network.observe = watch
    await world.restart(away)
    applied = max(world.invariants.applied)
    await world.until(lambda: away.raft.status().applied_index >= applied, 8, "it is installed")


async def a_first_chunk_comes_again(world: World) -> None:
    """Repeated on its way, it does not make the follower forget those that it has.

    Found by seed 20562: the follower began anew, and the two waited for each other for ever.
    """
    first: list[SnapshotChunk] = []

    def meddle(leader: SimMember, away: SimMember, chunk: SnapshotChunk) -> None:
        if chunk.number == 0:
            first.append(chunk)
        elif chunk.number in {2, 4}:
            loop, sender = asyncio.get_running_loop(), leader.me.raft_id
            loop.call_later(
                0.02,
                away.process.run,
                away.raft._running.listener.message_received,
                sender,
                first[0],
            )

    await _snapshot_under_way(world, meddle)
    assert first


async def an_answer_of_a_former_run_comes_late(world: World) -> None:
    """It makes the leader send what the follower can't use yet: the two find together again."""
    meddled: list[int] = []

    def meddle(leader: SimMember, away: SimMember, chunk: SnapshotChunk) -> None:
        if chunk.number == 3 and not meddled:
            meddled.append(3)
            old = SnapshotAck(chunk.term, chunk.round, chunk.index, 6, False)
            loop, sender = asyncio.get_running_loop(), away.me.raft_id
            loop.call_soon(
                leader.process.run, leader.raft._running.listener.message_received, sender, old
            )

    await _snapshot_under_way(world, meddle)
    assert meddled
