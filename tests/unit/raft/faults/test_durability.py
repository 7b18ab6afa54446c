"""What is promised is on disk first; power may go at any step, and the disk may be full."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgspec
import pytest

from swarmops.errors import CannotApply
from swarmops.raft import (
    OutcomeUnknown,
    ProposalTimeout,
    Stopped,
    StorageCorrupt,
    logfile,
    records,
    termfile,
)
from swarmops.raft.messages import AppendAck
from swarmops.raft.snapshots import CHUNK, END, HEADER_BYTES, META

KEY = bytes(range(32))


def _durable_last_index(disk: Any) -> int:
    """Read what a loss of power now would leave for certain."""
    copy = type(disk)()
    for name, content in disk.durable_names.items():
        copy.files[name] = bytearray(disk.synced.get(id(content), b""))
    loaded = logfile.load(copy, KEY)
    return int(loaded.base[0] + len(loaded.entries))


def test_an_entry_is_on_disk_before_it_is_acknowledged_to_the_leader(run: Any):
    """At the moment an acknowledgement leaves, a loss of power would not take the entry."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        checked = 0
        for member in world.members.values():
            member.disk_delay_s = 0.2

        def watch(sender: str, _to: str, message: Any) -> bool:
            nonlocal checked
            if isinstance(message, AppendAck) and message.ok and message.match:
                disk = next(m for m in world.members.values() if m.me.raft_id == sender).disk
                assert _durable_last_index(disk) >= message.match
                checked += 1
            return True

        world.watch = watch
        leader = await world.leader()
        await asyncio.gather(*(leader.raft.propose(b"%d" % n) for n in range(50)))
        assert checked

    run(scenario)


def test_a_group_of_one_answers_only_what_is_on_disk(run: Any):
    """The leader's own log counts when it is durable, not when it is written."""

    async def scenario(world: Any) -> None:
        await world.form(1)
        one = world.members[1]
        one.disk_delay_s = 0.5
        waiting = asyncio.ensure_future(one.raft.propose(b"a"))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        assert one.machine.applied == []
        await waiting

    run(scenario)


def test_who_led_takes_back_what_counted_its_own_unwritten_log(run: Any):
    """Out of office, a member takes for committed only what is on its disk, or is vouched for."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        leader = await world.leader()
        running = leader.raft._running
        leader.disk_delay_s = 3.0
        waiting = asyncio.ensure_future(leader.raft.propose(b"a"))
        await asyncio.sleep(0.5)
        assert running.engine.raftCommitIndex > running.journal.durable_index
        world.isolate(next(n for n, m in world.members.items() if m is leader))
        await asyncio.sleep(1.5)
        assert not running.engine.is_leading()
        assert running.engine.raftCommitIndex <= running.journal.durable_index
        leader.disk_delay_s = 0.001
        world.heal()
        await waiting
        assert await world.converge() == [b"a"]

    run(scenario)


def test_what_is_older_than_a_second_is_noted_though_writes_never_cease(run: Any):
    """So that a tail that is lost later is missed, not taken for one that nobody was promised."""

    async def scenario(world: Any) -> None:
        await world.form(1)
        one = world.members[1]
        one.disk_delay_s = 0.01
        writer = one.raft._running.writer
        ends = []
        for n in range(400):
            await one.raft.propose(b"%d" % n)
            ends.append((asyncio.get_running_loop().time(), writer.end))
        now = asyncio.get_running_loop().time()
        assert now - ends[0][0] > 2, "it took no time"
        old = [end for at, end in ends if at < now - 1.5]
        assert old[-1].offset > old[0].offset > 0
        noted = termfile.load(one.disk)
        assert noted is not None
        assert noted.log_end.segment == old[-1].segment
        assert noted.log_end.offset >= old[-1].offset

    run(scenario)


@pytest.mark.parametrize("at", range(0, 60, 2))
def test_power_may_go_at_any_step_of_log_snapshot_and_compaction(run: Any, at: int):
    """Restarted after each, the member has everything acknowledged, or refuses: never guesses."""

    async def scenario(world: Any) -> None:
        world.timing = msgspec.structs.replace(
            world.timing, snapshot_entries=8, trailing_entries=3, segment_bytes=300
        )
        await world.form(1)
        one = world.members[1]
        acknowledged: list[bytes] = []
        one.disk.power_off_at = len(one.disk.log) + at
        for n in range(30):
            try:
                await one.raft.propose(b"%d" % n, timeout_s=1)
            except (Stopped, ProposalTimeout):
                break
            acknowledged.append(b"%d" % n)
        one.power_off()
        await one.start("open")
        await world.leader()
        await one.raft.propose(b"more")
        assert one.machine.applied[: len(acknowledged)] == acknowledged

    run(scenario, at)


def test_a_full_disk_stops_the_leader_and_room_brings_it_back(run: Any):
    """It says so, another leads, nothing acknowledged is lost, and it catches up with room."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        old = await world.leader()
        await old.raft.propose(b"before")
        old.disk.full = True
        survivor = next(m for m in world.alive() if m is not old)
        await survivor.raft.propose(b"meanwhile", timeout_s=10)
        new = await world.leader()
        assert new is not old
        assert "No space left" in old.status().disk_error
        await new.raft.propose(b"more")
        old.disk.full = False
        await world.eventually(lambda: old.status().disk_error is None)
        assert await world.converge() == [b"before", b"meanwhile", b"more"]

    run(scenario)


def test_a_group_of_one_on_a_full_disk_loses_nothing(run: Any):
    """Its write waits, and is made when there is room, once."""

    async def scenario(world: Any) -> None:
        await world.form(1)
        one = world.members[1]
        await one.raft.propose(b"a")
        one.disk.full = True
        waiting = asyncio.ensure_future(one.raft.propose(b"b", timeout_s=30))
        await asyncio.sleep(5)
        assert not waiting.done()
        one.disk.full = False
        await waiting
        one.power_off()
        await one.start("open")
        await world.leader()
        assert one.machine.applied == [b"a", b"b"]

    run(scenario)


def test_a_slow_disk_of_a_follower_costs_no_leadership(run: Any):
    """Each sync takes a second, yet the follower is alive and the leader stays."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        leader = await world.leader()
        term = leader.status().term
        for member in world.alive():
            if member is not leader:
                member.disk_delay_s = 1.5
        await asyncio.gather(*(leader.raft.propose(b"%d" % n, timeout_s=60) for n in range(20)))
        await asyncio.sleep(10)
        assert leader.status().term == term
        assert leader.status().is_leader

    run(scenario)


def test_files_stay_bounded_under_endless_writes(run: Any):
    """After 100 snapshots' worth of writes there are still few files and few bytes."""

    async def scenario(world: Any) -> None:
        world.timing = msgspec.structs.replace(
            world.timing, snapshot_entries=50, trailing_entries=10, segment_bytes=2000
        )
        await world.form(3)
        leader = await world.leader()
        leader.machine.apply = lambda _index, _data: None
        for _ in range(100):
            await asyncio.gather(*(leader.raft.propose(b"x" * 20) for _ in range(50)))
        await asyncio.sleep(2)
        log = [name for name in leader.disk.files if name.startswith("log-")]
        snapshots = [name for name in leader.disk.files if name.startswith("snapshot-")]
        assert len(log) <= 12
        assert len(snapshots) == 1

    run(scenario)


def test_the_engine_compacts_nothing_by_itself(run: Any):
    """Whatever the stock engine's bounds are: what is kept behind a snapshot is ours to say."""

    async def scenario(world: Any) -> None:
        await world.form(1)
        one = world.members[1]
        await asyncio.gather(*(one.raft.propose(b"%d" % n) for n in range(20)))
        journal, engine = one.raft._running.journal, one.raft._running.engine
        before = journal.first_index
        await asyncio.sleep(engine.conf.logCompactionMinTime + 10)
        assert journal.first_index == before
        assert len(journal) > 20

    run(scenario)


def test_a_follower_that_never_catches_up_costs_bounded_memory_and_files(run: Any):
    """It answers, but its disk takes seconds: log, files and what is under way are small."""

    async def scenario(world: Any) -> None:
        world.timing = msgspec.structs.replace(
            world.timing,
            snapshot_entries=50,
            trailing_entries=10,
            segment_bytes=2000,
            lagging_entries=100,
            batch_bytes=500,
            inflight_messages=8,
            inflight_bytes=2000,
        )
        await world.form(3)
        leader = await world.leader()
        slow = next(m for m in world.alive() if m is not leader)
        slow.disk_delay_s = 2.0
        for member in world.alive():
            member.machine.apply = lambda _index, _data: None
        running = leader.raft._running
        progress = running.engine._progress[slow.me.raft_id]
        entries = under_way = size = 0

        def watch(_sender: str, to: str, _message: Any) -> bool:
            nonlocal under_way
            if to == slow.me.raft_id:
                under_way = max(under_way, progress._inflight_bytes)
            return True

        world.watch = watch
        for _ in range(20):
            await asyncio.gather(*(leader.raft.propose(b"x" * 20) for _ in range(50)))
            entries = max(entries, len(running.journal))
            size = max(size, sum(len(content) for content in leader.disk.files.values()))
            await asyncio.sleep(0.2)
        assert slow.status().applied_index < leader.status().applied_index, "it catches up"
        assert entries <= 100 + 3 * 50
        assert 0 < under_way <= 2000 + 500
        assert size < 60_000

    run(scenario)


def test_what_one_member_has_proposed_and_not_seen_applied_is_bounded(run: Any):
    """More waits outside, and is answered all the same."""

    async def scenario(world: Any) -> None:
        world.timing = msgspec.structs.replace(world.timing, pending_bytes=10_000)
        await world.form(1)
        one = world.members[1]
        one.disk_delay_s = 0.05
        asked = [asyncio.ensure_future(one.raft.propose(b"x" * 100)) for _ in range(100)]
        most = 0
        while not all(each.done() for each in asked):
            most = max(most, one.raft._running.proposals._bytes)
            await asyncio.sleep(0.01)
        assert sorted(each.result() for each in asked) == list(range(1, 101))
        assert 5000 < most < 10_000 + 100 + 1024

    run(scenario)


def test_who_cannot_apply_what_others_have_stops_and_goes_on_once_it_can(run: Any):
    """It is never another than they are: what it left out it applies as soon as it can read it."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        leader = await world.leader()
        old = next(m for m in world.alive() if m is not leader)
        apply = old.machine.apply

        def apply_old(index: int, data: bytes) -> object:
            if data == b"new":
                raise CannotApply("written by a newer release")
            return apply(index, data)

        old.machine.apply = apply_old
        await leader.raft.propose(b"new")
        await world.eventually(lambda: old.raft.status().failure)
        assert old.raft.status().failure == "written by a newer release"
        await leader.raft.propose(b"more")
        assert old.machine.applied == []
        old.power_off()
        await old.start("open")
        assert await world.converge() == [b"new", b"more"]

    run(scenario)


def _places(snapshot: bytes) -> dict[str, int]:
    """Say where the parts of a snapshot's file begin."""
    offset, places = HEADER_BYTES, {"the header": 0}
    while record := records.read_record(snapshot, offset):
        places[{META: "the description", CHUNK: "a chunk", END: "the end"}[record.kind]] = offset
        offset = record.end
    return places


@pytest.mark.parametrize("damage", ["cut", "flip"])
@pytest.mark.parametrize("where", ["the header", "the description", "a chunk", "the end"])
def test_a_member_whose_snapshot_is_damaged_refuses_to_start(run: Any, where: str, damage: str):
    """With file and offset; a member that led without its state would be a zombie."""

    async def scenario(world: Any) -> None:
        world.timing = msgspec.structs.replace(
            world.timing, snapshot_entries=50, trailing_entries=10, segment_bytes=300
        )
        await world.form(1)
        one = world.members[1]
        for n in range(60):
            await one.raft.propose(b"%d" % n)
        await world.eventually(lambda: one.raft._running.journal.first_index > 30)
        one.power_off()
        (name,) = (name for name in one.disk.files if name.startswith("snapshot-"))
        file = one.disk.files[name]
        at = _places(bytes(file))[where]
        if damage == "cut":
            del file[at + 7 :]
        else:
            file[at + 7] ^= 1
        try:
            with pytest.raises(StorageCorrupt, match=rf"{name}: .* at byte {at}; .*join"):
                await one.start("open")
        finally:
            one.is_off = one.raft._run is None

    run(scenario)


@pytest.mark.parametrize("when", ["asked for", "drawn"])
def test_a_snapshot_that_the_state_machine_fails_to_give_is_tried_again(run: Any, when: str):
    """No memory for one attempt: writes go on, another is made, and the log is cut behind it."""

    async def scenario(world: Any) -> None:
        world.timing = msgspec.structs.replace(
            world.timing, snapshot_entries=50, trailing_entries=10, segment_bytes=2000
        )
        await world.form(1)
        one = world.members[1]
        snapshot, failures = one.machine.snapshot, [MemoryError(), MemoryError()]

        def fail(chunks: Any) -> Any:
            yield next(chunks)
            raise failures.pop()

        def failing() -> Any:
            if failures and when == "asked for":
                raise failures.pop()
            return fail(snapshot()) if failures else snapshot()

        one.machine.snapshot = failing
        for n in range(60):
            await one.raft.propose(b"%d" % n)
        await world.eventually(
            lambda: any(name.startswith("snapshot-") for name in one.disk.files) and not failures
        )
        await world.eventually(lambda: one.raft._running.journal.first_index > 40)
        assert await one.raft.propose(b"more") == 61

    run(scenario)


def test_memory_entries_behind_a_snapshot_are_kept_for_slow_followers(run: Any):
    """A follower that missed fewer than the trailing entries gets entries, not a snapshot."""

    async def scenario(world: Any) -> None:
        world.timing = msgspec.structs.replace(
            world.timing, snapshot_entries=100, trailing_entries=50
        )
        await world.form(3)
        leader = await world.leader()
        follower = next(n for n, m in world.members.items() if m is not leader)
        for n in range(80):
            await leader.raft.propose(b"%d" % n)
        world.isolate(follower)
        for n in range(40):
            await leader.raft.propose(b"more %d" % n)
        seen: list[str] = []

        def watch(_sender: str, _to: str, message: Any) -> bool:
            seen.append(type(message).__name__)
            return True

        world.watch = watch
        world.heal()
        await world.converge()
        assert "SnapshotChunk" not in seen

    run(scenario)


def test_a_result_lost_in_a_snapshot_is_said_to_be_unknown(run: Any):
    """The proposer whose command was covered by a snapshot hears that it was made, not what."""

    async def scenario(world: Any) -> None:
        world.timing = msgspec.structs.replace(
            world.timing, snapshot_entries=20, trailing_entries=2, lagging_entries=0
        )
        await world.form(3)
        leader = await world.leader()
        follower = next(m for m in world.alive() if m is not leader)
        world.watch = lambda _from, to, m: (
            not (to == follower.me.raft_id and type(m).__name__ == "Append" and m.entries)
        )
        waiting = asyncio.ensure_future(follower.raft.propose(b"mine", timeout_s=60))
        await asyncio.sleep(1)
        for n in range(60):
            await leader.raft.propose(b"%d" % n)
        world.watch = lambda *_: True
        with pytest.raises(OutcomeUnknown):
            await waiting
        assert (await world.converge()).count(b"mine") == 1

    run(scenario)


def test_torn_tails_are_as_hard_on_the_test_as_on_the_log(memory_disk: Any):
    """The simulated loss of power keeps what was synced and tears the rest in every way."""
    lengths = set()
    for seed in range(40):
        disk = memory_disk()
        file = disk.create("a")
        file.write(b"s" * 600)
        file.sync()
        disk.sync_names()
        file.write(b"t" * 2000)
        disk.lose_power(random.Random(seed))
        assert disk.read("a").startswith(b"s" * 600)
        lengths.add(len(disk.read("a")))
    assert {600, 2600} < lengths


def test_whatever_goes_wrong_in_the_log_lane_nothing_unwritten_is_promised(run: Any):
    """No memory for a batch: it is written again before anything after it, and told meanwhile."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        leader = await world.leader()
        victim = next(m for m in world.alive() if m is not leader)
        commit = victim.raft._running.writer.commit
        failures = [MemoryError(), MemoryError()]

        def failing(batch: Any) -> None:
            if batch.entries and failures:
                raise failures.pop()
            commit(batch)

        victim.raft._running.writer.commit = failing
        await leader.raft.propose(b"a")
        await world.eventually(lambda: "MemoryError" in (victim.status().disk_error or ""))
        last = victim.raft._running.journal.last_index
        assert victim.raft._running.journal.durable_index < last
        await leader.raft.propose(b"b")
        await world.eventually(lambda: victim.status().disk_error is None)
        await world.converge()
        victim.power_off()
        await victim.start("open")
        assert await world.converge() == [b"a", b"b"]

    run(scenario)


def test_a_full_disk_is_told_until_a_write_succeeds(run: Any):
    """Each attempt to write again leaves the member unelectable and its status unchanged."""

    async def scenario(world: Any) -> None:
        await world.form(1)
        one = world.members[1]
        one.disk.full = True
        one.disk_delay_s = 0.3
        waiting = asyncio.ensure_future(one.raft.propose(b"a", timeout_s=30))
        await world.eventually(lambda: one.status().disk_error)
        term = one.status().term
        for _ in range(500):
            await asyncio.sleep(0.01)
            assert "No space left" in (one.status().disk_error or "")
            assert not one.status().is_leader
        assert one.status().term == term
        one.disk.full = False
        await waiting

    run(scenario)
