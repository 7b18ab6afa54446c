"""What a follower accepts and a leader believes, message by message: late, twice, out of order."""

from __future__ import annotations

import asyncio
import functools
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from swarmops.raft import Member, commands
from swarmops.raft.membership import Configuration
from swarmops.raft.membership import encode as encode_configuration
from swarmops.raft.messages import Append, AppendAck, SnapshotAck, SnapshotChunk
from swarmops.raft.snapshots import SnapshotMeta

LEADER = Member("00000000000000aa", "nodeaa", "10.0.0.99:2377")
OTHER = Member("00000000000000bb", "nodebb", "10.0.0.98:2377")


class Follower:
    """One member whose leader is played by the test."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.member: Any = None
        self.answers: list[Any] = []

    async def start(self, world: Any) -> None:
        """Start it, and give it a group of three in term 1."""
        await world.form(1)
        self.member = world.members[1]
        self.member.power_off()
        world.members.clear()
        self.member = type(self.member)(world, 2)
        world.members[2] = self.member
        world.watch = self._heard
        await self.member.start("join", [LEADER, OTHER])
        configuration = Configuration(voters=(LEADER, OTHER, self.member.me))
        self.first = commands.membership(encode_configuration(configuration))
        # Entry 1 is the same on all; the configuration is entry 2.
        self.member.transport.linked = {LEADER.raft_id, OTHER.raft_id}
        await self.say(Append(1, 1, 1, 0, 2, [(1, self.first)]))

    def _heard(self, _sender: str, _to: str, message: Any) -> bool:
        self.answers.append(message)
        return False

    async def say(self, message: Any, sender: str = LEADER.raft_id) -> Any:
        """Send a message; return the last answer."""
        self.answers.clear()
        self.member.transport.linked = {LEADER.raft_id, OTHER.raft_id}
        self.member.transport.upcalls.message_received(sender, message)
        await asyncio.sleep(0.02)
        return self.answers[-1] if self.answers else None

    @property
    def journal(self) -> Any:
        """The follower's log."""
        return self.member.raft._running.journal


def entry(term: int, text: str) -> tuple[int, bytes]:
    """Spell an entry as a message has it."""
    return term, commands.regular(7, int.from_bytes(text.encode(), "big"), 0, text.encode())


def follow(run: Any, play: Any) -> None:
    """Run a scenario with a follower."""

    async def scenario(world: Any) -> None:
        follower = Follower(world)
        await follower.start(world)
        await play(follower)

    run(scenario)


def test_a_repeated_append_truncates_nothing(run: Any):
    """A resend of earlier entries, after later ones were acknowledged, leaves those."""

    async def play(follower: Follower) -> None:
        first = Append(1, 2, 2, 1, 2, [entry(1, "a")])
        await follower.say(first)
        ack = await follower.say(Append(1, 3, 3, 1, 2, [entry(1, "b"), entry(1, "c")]))
        assert ack == AppendAck(1, 3, True, 5, 0)
        await follower.say(first)
        await follower.say(Append(1, 2, 2, 1, 2, []))
        assert follower.journal.last_index == 5
        assert follower.journal.durable_index == 5

    follow(run, play)


def test_a_conflict_truncates_from_the_first_entry_that_differs(run: Any):
    """A newer leader's entries replace what differs, and only that."""

    async def play(follower: Follower) -> None:
        await follower.say(Append(1, 2, 2, 1, 2, [entry(1, "a"), entry(1, "b"), entry(1, "c")]))
        ack = await follower.say(
            Append(3, 1, 2, 1, 2, [entry(1, "a"), entry(3, "B")]), OTHER.raft_id
        )
        assert ack == AppendAck(3, 1, True, 4, 0)
        assert [follower.journal.term_at(n) for n in (3, 4, 5)] == [1, 3, None]

    follow(run, play)


def test_only_what_this_leader_vouched_for_is_committed(run: Any):
    """A heartbeat's commit index does not reach over a tail that nobody has compared."""

    async def play(follower: Follower) -> None:
        await follower.say(Append(1, 2, 2, 1, 2, [entry(1, "a"), entry(1, "b")]))
        ack = await follower.say(Append(2, 1, 2, 1, 4, []), OTHER.raft_id)
        assert ack.match == 2
        await follower.say(Append(2, 2, 0, 0, 4, []), OTHER.raft_id)
        assert follower.member.status().commit_index == 2
        assert follower.member.machine.applied == []

    follow(run, play)


def test_a_contradiction_of_what_is_committed_stops_the_member(run: Any):
    """Rather than drop an applied entry, it takes no further part."""

    async def play(follower: Follower) -> None:
        await follower.say(Append(1, 2, 2, 1, 3, [entry(1, "a")]))
        assert follower.member.machine.applied == [b"a"]
        await follower.say(Append(2, 1, 2, 1, 3, [entry(2, "z")]), OTHER.raft_id)
        assert follower.member.status().leader is None
        assert "contradicts entry 3" in follower.member.status().failure
        assert follower.journal.term_at(3) == 1
        assert follower.member.machine.applied == [b"a"]

    follow(run, play)


def test_an_old_leader_is_told_the_new_term_and_changes_nothing(run: Any):
    """Messages of an older term are refused with the newer one."""

    async def play(follower: Follower) -> None:
        await follower.say(Append(5, 1, 2, 1, 2, []), OTHER.raft_id)
        ack = await follower.say(Append(1, 9, 2, 1, 3, [entry(1, "a")]))
        assert (ack.term, ack.ok) == (5, False)
        assert follower.journal.last_index == 2

    follow(run, play)


def _snapshot(index: int, term: int, number: int, *, last: bool, data: bytes = b"") -> Any:
    member = Member("0000000000000002", "node2", "10.0.0.2:2377")
    configuration = encode_configuration(Configuration(voters=(LEADER, OTHER, member)))
    meta = msgspec.msgpack.encode(SnapshotMeta(configuration, b"\x80"))
    return SnapshotChunk(term, 1, index, term, number, last, meta if number == 0 else b"", data)


def test_a_stale_snapshot_rolls_nothing_back(run: Any):
    """A snapshot of what is applied already is acknowledged as such, and not installed."""

    async def play(follower: Follower) -> None:
        await follower.say(Append(1, 2, 2, 1, 4, [entry(1, "a"), entry(1, "b")]))
        ack = await follower.say(_snapshot(3, 1, 0, last=False, data=b"old"))
        assert isinstance(ack, SnapshotAck)
        assert ack.done
        assert follower.member.machine.applied == [b"a", b"b"]
        assert follower.journal.last_index == 4

    follow(run, play)


def test_a_chunk_moves_no_commit_index(run: Any):
    """Over an unverified tail, a snapshot's chunk commits and acknowledges nothing of it."""

    async def play(follower: Follower) -> None:
        await follower.say(Append(1, 2, 2, 1, 2, [entry(1, "a"), entry(1, "b")]))
        chunk = _snapshot(90, 2, 0, last=False, data=b"x")
        ack = await follower.say(chunk, OTHER.raft_id)
        assert ack == SnapshotAck(2, 1, 90, 1, False)
        assert follower.member.status().commit_index == 2

    follow(run, play)


def test_chunks_of_two_senders_never_mix(run: Any):
    """Another leader's chunk in the middle of a snapshot makes it begin again."""

    async def play(follower: Follower) -> None:
        await follower.say(_snapshot(90, 2, 0, last=False, data=b"x"))
        other = msgspec.structs.replace(_snapshot(90, 2, 1, last=False, data=b"y"), term=3)
        ack = await follower.say(other, OTHER.raft_id)
        assert (ack.next_number, ack.done) == (0, False)

    follow(run, play)


def test_a_snapshot_replaces_the_log_it_covers(run: Any):
    """After the last chunk the state is the snapshot's, and the log goes on behind it."""

    async def play(follower: Follower) -> None:
        await follower.say(Append(1, 2, 2, 1, 2, [entry(1, "a")]))
        await follower.say(_snapshot(90, 2, 0, last=False, data=b"x\ny"))
        ack = await follower.say(_snapshot(90, 2, 1, last=True))
        assert ack.done
        assert follower.member.machine.applied == [b"x", b"y"]
        ack = await follower.say(Append(2, 5, 90, 2, 91, [entry(2, "z")]))
        assert ack.match == 91
        assert follower.member.machine.applied == [b"x", b"y", b"z"]
        follower.member.power_off()
        await follower.member.start("open")
        assert follower.member.machine.applied == [b"x", b"y"]
        assert follower.journal.last_index == 91
        assert [v.raft_id for v in follower.member.status().voters][:2] == [
            LEADER.raft_id,
            OTHER.raft_id,
        ]

    follow(run, play)


def test_a_leader_whose_snapshot_rots_on_the_disk_takes_another_one(run: Any):
    """Whoever needs it gets the new one; the damaged one is never sent."""

    async def scenario(world: Any) -> None:
        world.timing = msgspec.structs.replace(
            world.timing, snapshot_entries=100, trailing_entries=5
        )
        await world.form(1)
        one = world.members[1]
        for n in range(130):
            await one.raft.propose(b"%d" % n)
        disk = one.disk
        name = max(n for n in disk.files if n.startswith("snapshot-") and not n.endswith(".new"))
        disk.files[name][-20] ^= 1
        two = await world.join(2)
        assert two.machine.applied == one.machine.applied

    run(scenario)


def test_a_damaged_snapshot_is_not_acknowledged(run: Any):
    """What can't be read back whole is dropped, and asked for again; the state stays."""

    async def play(follower: Follower) -> None:
        await follower.say(Append(1, 2, 2, 1, 3, [entry(1, "a")]))
        machine, disk = follower.member.machine, follower.member.disk
        machine.load = lambda chunks: functools.partial(machine.restore, iter(list(chunks)))
        await follower.say(_snapshot(90, 2, 0, last=False, data=b"x" * 100))
        name = next(n for n in disk.files if n.endswith(".new"))
        disk.files[name][-20] ^= 1
        assert await follower.say(_snapshot(90, 2, 1, last=True)) is None
        status = follower.member.status()
        assert (status.failure, status.applied_index, machine.applied) == (None, 3, [b"a"])
        # A start in between finds what was promised, and nothing of it.
        follower.member.power_off()
        await follower.member.start("open")
        assert follower.journal.last_index == 3
        await follower.say(_snapshot(90, 2, 0, last=False, data=b"x" * 100))
        assert (await follower.say(_snapshot(90, 2, 1, last=True))).done
        assert follower.member.machine.applied == [b"x" * 100]

    follow(run, play)


def test_a_snapshot_of_an_empty_state_is_installed(run: Any):
    """It has no chunk but the last: who needs it would else ask for it for ever."""

    async def play(follower: Follower) -> None:
        ack = await follower.say(_snapshot(90, 2, 0, last=True))
        assert ack == SnapshotAck(2, 1, 90, 0, True)
        assert follower.member.status().applied_index == 90
        follower.member.power_off()
        await follower.member.start("open")
        assert follower.member.status().applied_index == 90

    follow(run, play)


@pytest.mark.parametrize("way", ["restore", "load"])
def test_a_state_that_could_not_be_replaced_ends_the_member_and_says_why(run: Any, way: str):
    """Half old and half new it serves nobody; started again, it has the snapshot's state."""

    async def play(follower: Follower) -> None:
        def fail(_chunks: Any = None) -> Any:
            raise MemoryError("no room for the state")

        machine = follower.member.machine
        if way == "restore":
            machine.restore = fail
        else:
            machine.load = lambda _chunks: fail
        await follower.say(_snapshot(90, 2, 0, last=False, data=b"x\ny"))
        assert await follower.say(_snapshot(90, 2, 1, last=True)) is None
        assert follower.member.status().failure == "no room for the state"
        assert follower.member.status().leader is None
        follower.member.power_off()
        await follower.member.start("open")
        assert follower.member.status().failure is None
        assert follower.member.machine.applied == [b"x", b"y"]

    follow(run, play)


def test_a_late_refusal_never_goes_behind_what_was_acknowledged(run: Any):
    """A leader ignores resets below a follower's match index."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        leader = await world.leader()
        for n in range(20):
            await leader.raft.propose(b"%d" % n)
        follower = next(m for m in world.alive() if m is not leader)
        await world.converge()
        engine = leader.raft._running.engine
        match = {node.id: at for node, at in engine._SyncObj__raftMatchIndex.items()}
        sent: list[int] = []

        def watch(_sender: str, to: str, message: Any) -> bool:
            if to == follower.me.raft_id and isinstance(message, Append):
                sent.append(message.prev_index)
            return True

        world.watch = watch
        late = AppendAck(engine.term(), 1, False, 0, 2)
        leader.transport.upcalls.message_received(follower.me.raft_id, late)
        await asyncio.sleep(0.5)
        assert min(sent) >= match[follower.me.raft_id]

    run(scenario)


@pytest.mark.parametrize("kind", ["ReadIndex", "ReadIndexReply"])
def test_a_lost_question_costs_a_read_no_more_than_a_moment(run: Any, kind: str):
    """Lost on its way there or back, it is asked again, long before the reader's bound."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        leader = await world.leader()
        follower = next(m for m in world.alive() if m is not leader)
        await leader.raft.propose(b"a")
        lost: list[Any] = []

        def watch(_sender: str, _to: str, message: Any) -> bool:
            if type(message).__name__ == kind and not lost:
                lost.append(message)
                return False
            return True

        world.watch = watch
        await follower.raft.read_barrier(timeout_s=0.5)
        assert lost
        assert follower.machine.applied == [b"a"]

    run(scenario)


def test_an_acknowledgement_of_an_older_term_counts_for_nothing(run: Any):
    """What a follower had in a term that is over may be gone from its log: it proves nothing."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        old = await world.leader()
        await old.raft.transfer_leadership()
        leader = await world.eventually(
            lambda: next((m for m in world.alive() if m.status().is_leader and m is not old), None)
        )
        followers = [m for m in world.alive() if m is not leader]
        await leader.raft.propose(b"a")
        world.watch = lambda sender, _to, _message: sender == leader.me.raft_id
        waiting = asyncio.ensure_future(leader.raft.propose(b"b", timeout_s=5))
        await asyncio.sleep(0.05)
        engine = leader.raft._running.engine
        last = leader.raft._running.journal.last_index
        for follower in followers:
            late = AppendAck(engine.term() - 1, 1, True, last, 0)
            leader.transport.upcalls.message_received(follower.me.raft_id, late)
        await asyncio.sleep(0.05)
        assert leader.status().commit_index < last
        world.watch = lambda *_: True
        await waiting

    run(scenario)


@pytest.mark.parametrize("through", ["the leader", "a follower"])
def test_a_write_waits_for_no_heartbeat(run: Any, through: str):
    """It takes what disk and network take, though nothing was due to be sent for a while."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        leader = await world.leader()
        member = next(m for m in world.alive() if (m is leader) == (through == "the leader"))
        loop = asyncio.get_running_loop()
        for _ in range(10):
            began = loop.time()
            await member.raft.propose(b"a")
            assert loop.time() - began < world.timing.heartbeat_s / 3
            await asyncio.sleep(0.013)

    run(scenario)


def lose_first_forward(world: Any) -> list[Any]:
    """Let a follower's first proposal not reach the leader; return where it will be found."""
    lost: list[Any] = []

    def watch(_sender: str, _to: str, message: Any) -> bool:
        if type(message).__name__ == "Forward" and not lost:
            lost.append(message)
            return False
        return True

    world.watch = watch
    return lost


def test_a_lost_forward_is_sent_again_and_applied_once(run: Any):
    """A proposal whose way to the leader was lost is answered all the same."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        leader = await world.leader()
        follower = next(m for m in world.alive() if m is not leader)
        lost = lose_first_forward(world)
        await follower.raft.propose(b"a", timeout_s=5)
        assert lost
        leader.transport.upcalls.message_received(follower.me.raft_id, lost[0])
        await leader.raft.propose(b"b")
        assert await world.converge() == [b"a", b"b"]

    run(scenario)


def test_what_the_former_leader_took_along_is_sent_to_the_next_at_once(run: Any):
    """Its proposer waits for the election, not for the time after which it would ask again."""

    async def scenario(world: Any) -> None:
        world.timing = replace(world.timing, retry_s=60.0)
        await world.form(3)
        leader = await world.leader()
        follower = next(m for m in world.alive() if m is not leader)
        taken = lose_first_forward(world)
        waiting = asyncio.ensure_future(follower.raft.propose(b"a", timeout_s=30))
        await world.eventually(lambda: taken)
        leader.power_off()
        await waiting
        assert await world.converge() == [b"a"]

    run(scenario)


@pytest.mark.slow
@pytest.mark.parametrize("count", [100_000])
def test_more_proposals_than_any_queue_holds_are_all_answered(run: Any, count: int):
    """Each is applied once."""

    async def scenario(world: Any) -> None:
        world.timing = msgspec.structs.replace(world.timing, pending_bytes=400 * count)
        await world.form(1)
        one = world.members[1]
        results = await asyncio.gather(
            *(one.raft.propose(b"%d" % n, timeout_s=600) for n in range(count))
        )
        assert sorted(results) == list(range(1, count + 1))

    run(scenario)


@pytest.mark.parametrize("seed", range(3))
def test_a_large_snapshot_on_a_slow_disk_installs_under_load_without_an_election(
    run: Any, seed: int
):
    """Far slower than any time-out, chunk by chunk, while writes go on."""

    async def scenario(world: Any) -> None:
        world.timing = msgspec.structs.replace(
            world.timing, snapshot_entries=200, trailing_entries=20
        )
        await world.form(3)
        leader = await world.leader()
        term = leader.status().term
        late = next(m for m in world.alive() if m is not leader)
        late.power_off()
        await asyncio.sleep(2)
        await asyncio.gather(*(leader.raft.propose(b"%d" % n) for n in range(1000)))
        late.disk_delay_s = 1.2
        await late.start("open")
        for n in range(400):
            await leader.raft.propose(b"more %d" % n)
            await asyncio.sleep(0.25)
            if len(late.machine.applied) >= 1000:
                break
        assert n > 40, "it was no large snapshot"
        assert len(late.machine.applied) >= 1000, "it never installs"
        late.disk_delay_s = 0.001
        await world.converge()
        assert leader.status().term == term

    run(scenario, seed)


def test_entries_that_take_long_are_applied_over_many_turns(run: Any):
    """One may hold hundreds of tasks: others have their turn after the first that is too long."""

    async def play(follower: Follower) -> None:
        engine, machine = follower.member.raft._running.engine, follower.member.machine
        clock, apply, tick = engine._clock, machine.apply, engine.tick
        spent_s, applied = [0.0], [0]

        def slow(index: int, data: bytes) -> object:
            spent_s[0] += engine._timing.apply_slice_s * 0.6
            return apply(index, data)

        def counted() -> None:
            tick()
            applied.append(len(machine.applied))

        engine._clock, machine.apply, engine.tick = (lambda: clock() + spent_s[0]), slow, counted
        await follower.say(Append(1, 2, 2, 1, 42, [entry(1, f"{n}") for n in range(40)]))
        assert len(machine.applied) == 40
        assert max(after - before for before, after in pairwise(applied)) == 2

    follow(run, play)
