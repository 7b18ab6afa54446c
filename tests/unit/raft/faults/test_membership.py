"""Members come and go one at a time, as the log says, and never come back under their old id."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from swarmops.raft import (
    Member,
    MembershipRefused,
    NoLeader,
    ProposalTimeout,
    QuorumLoss,
    Stopped,
    force_new_cluster,
)
from swarmops.raft import membership as rules
from swarmops.raft.messages import AppendAck, TimeoutNow
from swarmops.raft.snapshots import SnapshotMeta, SnapshotReader

KEY = bytes(range(32))


def member(number: int) -> Member:
    """Make a member's name tag."""
    return Member(f"{number:016x}", f"node{number}", f"10.0.0.{number}:2377")


@pytest.mark.parametrize(
    ("voters", "reachable", "may_go"),
    [
        (1, 1, False),
        (2, 2, True),
        (3, 3, True),
        (3, 2, False),
        (4, 3, True),
        (5, 5, True),
        (5, 4, True),
        (5, 3, False),
        (7, 5, True),
        (7, 4, False),
    ],
)
def test_the_quorum_check_is_dockers(voters: int, reachable: int, may_go: bool):  # noqa: FBT001 - a table
    """The last voter is the one to go; the first ``reachable`` answer, or all but it do."""
    group = rules.Configuration(voters=tuple(member(n) for n in range(voters)))
    leaving = member(voters - 1).raft_id
    answering = {member(n).raft_id for n in range(reachable - 1)} | {leaving}
    if may_go:
        rules.check_removal(group, leaving, answering)
    else:
        with pytest.raises(QuorumLoss):
            rules.check_removal(group, leaving, answering)


def test_a_learner_may_always_go():
    """It decides nothing, so it costs no quorum."""
    group = rules.Configuration(voters=(member(1),), learners=(member(2),))
    rules.check_removal(group, member(2).raft_id, {member(1).raft_id})


def test_a_removed_id_never_comes_back():
    """Not even for the same node."""
    group = rules.remove(rules.Configuration(voters=(member(1), member(2))), member(2).raft_id)
    with pytest.raises(MembershipRefused, match="can't come back"):
        rules.add(group, member(2))


def test_an_id_belongs_to_one_node_but_its_address_may_change():
    """The same id and node with another address is an update, with another node refused."""
    group = rules.Configuration(voters=(member(1),))
    moved = msgspec.structs.replace(member(1), addr="10.9.9.9:2377")
    assert rules.add(group, moved).voters == (moved,)
    with pytest.raises(MembershipRefused, match="belongs to node"):
        rules.add(group, msgspec.structs.replace(member(1), node_id="thief"))


def test_changes_asked_for_at_once_are_made_one_after_the_other(run: Any):
    """Four adds in one tick: each is committed before the next is appended."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        leader = await world.leader()
        engine = leader.raft._running.engine
        uncommitted: list[int] = []
        change = engine.change

        def watched(configuration: Any) -> int:
            index = int(change(configuration))
            waiting = [at for at, _ in engine._configurations if at > engine.commit_index()]
            uncommitted.append(len(waiting))
            return index

        engine.change = watched
        await asyncio.gather(*(leader.raft.add_member(member(10 + n)) for n in range(4)))
        assert len(leader.status().learners) == 4
        assert uncommitted == [1, 1, 1, 1]

    run(scenario)


def test_absent_joiners_change_no_majority(run: Any):
    """Learners that never came: a group of one commits, and one of three loses one as before."""

    async def scenario(world: Any) -> None:
        await world.form(1)
        one = world.members[1]
        await one.raft.add_member(member(20))
        await one.raft.add_member(member(21))
        assert await one.raft.propose(b"a", timeout_s=1) == 1

    run(scenario)


@pytest.mark.slow
def test_a_joiner_votes_only_once_it_has_caught_up(run: Any):
    """While its disk is slow it stays a learner; then it becomes a voter by itself."""

    async def scenario(world: Any) -> None:
        await world.form(1)
        one = world.members[1]
        await asyncio.gather(*(one.raft.propose(b"%d" % n) for n in range(3000)))
        late = type(one)(world, 2)
        world.members[2] = late
        late.disk_delay_s = 5.0
        peers = await one.raft.add_member(late.me)
        await late.start("join", peers)
        await asyncio.sleep(2)
        assert late.me in one.status().learners
        assert await one.raft.propose(b"meanwhile", timeout_s=1)
        late.disk_delay_s = 0.001
        await one.raft.wait(lambda s: late.me in s.voters, timeout_s=60)

    run(scenario)


def test_membership_after_a_restart_is_the_logs_not_the_arguments(run: Any):
    """Started again with the first peers of its life, a member knows all that joined since."""

    async def scenario(world: Any) -> None:
        await world.form(5)
        for number in (1, 2):
            again = world.members[number]
            again.power_off()
            await again.start("open", [world.members[3].me])
            await again.raft.wait(lambda s: len(s.voters) == 5, timeout_s=10)
            assert again.raft._running.engine.configuration.voter_ids == {
                m.me.raft_id for m in world.members.values()
            }

    run(scenario)


def test_an_uncommitted_change_is_rolled_back_with_its_entry(run: Any):
    """A leader that was cut off forgets the member it could not add."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        old = await world.leader()
        world.isolate(next(n for n, m in world.members.items() if m is old))
        with pytest.raises((NoLeader, ProposalTimeout)):
            await old.raft.add_member(member(30), timeout_s=2)
        assert old.raft._running.engine.configuration.member(member(30).raft_id) is not None
        new = await world.leader()
        await new.raft.propose(b"other")
        world.heal()
        await world.converge()
        assert old.raft._running.engine.configuration.member(member(30).raft_id) is None

    run(scenario)


@pytest.mark.parametrize("asked", ["the leader", "another"])
def test_a_manager_is_added_or_the_caller_hears_within_the_bound_that_it_is_not(
    run: Any, asked: str
):
    """Also by who has just lost the others, and by who knows of no leader any more."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        leader = await world.leader()
        others = [one for one in world.alive() if one is not leader]
        left = leader if asked == "the leader" else others[0]
        for one in (leader, *others):
            if one is not left:
                one.power_off()
        began = asyncio.get_running_loop().time()
        with pytest.raises((NoLeader, ProposalTimeout)):
            await left.raft.add_member(member(30), timeout_s=4)
        assert asyncio.get_running_loop().time() - began <= 4.1

    run(scenario)


def test_a_snapshot_holds_the_committed_configuration(run: Any):
    """A change that is not committed when the snapshot is taken is not in it."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        leader = await world.leader()
        await leader.raft.propose(b"a")
        world.isolate(next(n for n, m in world.members.items() if m is leader))
        asking = asyncio.ensure_future(leader.raft.add_member(member(30), timeout_s=0.2))
        await asyncio.sleep(0.05)
        leader.raft.snapshot_now()
        await asyncio.sleep(0.2)
        with pytest.raises((NoLeader, ProposalTimeout)):
            await asking
        newest = leader.raft._running.snapshots._newest
        assert newest is not None
        reader = SnapshotReader(leader.disk, KEY, newest)
        meta = msgspec.msgpack.decode(reader.meta, type=SnapshotMeta)
        held = rules.decode(meta.configuration)
        assert held.member(member(30).raft_id) is None
        assert len(held.voters) == 3

    run(scenario)


def test_a_member_removed_while_it_was_away_learns_of_it(run: Any):
    """When it returns and asks for votes, it is told, and stops."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        leader = await world.leader()
        away = next(m for m in world.alive() if m is not leader)
        number = next(n for n, m in world.members.items() if m is away)
        world.isolate(number)
        world.relink()
        await asyncio.sleep(2)
        told: list[bool] = []
        away.raft.on_removed(lambda: told.append(True))
        await leader.raft.remove_member(away.me.raft_id)
        term = leader.status().term
        await asyncio.sleep(2)
        assert not told
        world.heal()
        await world.eventually(lambda: told)
        with pytest.raises(Stopped):
            await away.raft.propose(b"x", timeout_s=1)
        assert leader.status().term == term

    run(scenario)


def test_removals_down_to_one_member_work(run: Any):
    """Five, one by one, the leader itself included each time, until one is left that works."""

    async def scenario(world: Any) -> None:
        await world.form(5)
        handed_over: set[str] = set()

        def watch(sender: str, _to: str, message: Any) -> bool:
            if isinstance(message, TimeoutNow):
                handed_over.add(sender)
            return True

        world.watch = watch
        for left in (4, 3, 2, 1):
            leader = await world.leader()
            await leader.raft.remove_member(leader.me.raft_id, timeout_s=20)
            assert leader.me.raft_id in handed_over
            leader.power_off()
            new = await world.leader()
            await new.raft.wait(lambda s, n=left: len(s.voters) == n, timeout_s=10)
        assert await (await world.leader()).raft.propose(b"alone") == 1

    run(scenario)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("snapshot_entries", [1_000_000, 5])
def test_force_new_cluster_makes_a_group_of_one_survivor(
    run: Any, snapshot_entries: int, number: int
):
    """From any manager's disk, compacted or not: all its log holds, itself alone, the rest barred.

    Barred stays also who was removed before; what nobody knows to be committed counts as agreed.
    """

    async def scenario(world: Any) -> None:
        world.timing = msgspec.structs.replace(
            world.timing, snapshot_entries=snapshot_entries, trailing_entries=2, segment_bytes=300
        )
        await world.form(4)
        leader = await world.leader()
        removed_before = world.members.pop(next(n for n in (4, 3) if world.members[n] != leader))
        await leader.raft.remove_member(removed_before.me.raft_id)
        removed_before.power_off()
        for n in range(10):
            await leader.raft.propose(b"%d" % n)
        await world.converge()
        world.watch = lambda _from, _to, message: not isinstance(message, AppendAck)
        unknown = asyncio.ensure_future(leader.raft.propose(b"unknown"))
        await asyncio.sleep(0.1)
        for each in world.alive():
            await each.raft.stop()
            each.is_off = True
        world.watch = lambda *_: True
        with pytest.raises(Stopped):
            await unknown
        survivor = world.members[number]
        compacted = any(name.startswith("snapshot-") for name in survivor.disk.files)
        assert compacted == (snapshot_entries == 5)
        force_new_cluster(survivor.disk, me=survivor.me, data_key=KEY)
        await survivor.start("open")
        assert await survivor.raft.propose(b"on", timeout_s=5) == 12
        assert survivor.machine.applied[-2:] == [b"unknown", b"on"]
        assert survivor.status().voters == (survivor.me,)
        others = [member for member in world.members.values() if member is not survivor]
        barred = {other.me.raft_id for other in (*others, removed_before)}
        assert survivor.status().removed == barred
        await others[0].start("open")
        gone: list[bool] = []
        others[0].raft.on_removed(lambda: gone.append(True))
        await world.eventually(lambda: gone)

    run(scenario)


def test_a_hand_over_under_load_loses_and_doubles_nothing(run: Any):
    """Ten hand-overs between writes: each write once, no write refused."""

    async def scenario(world: Any) -> None:
        await world.form(3)

        async def write(who: int) -> None:
            for n in range(100):
                await world.members[who].raft.propose(b"%d-%d" % (who, n), timeout_s=20)

        writing = [asyncio.ensure_future(write(n)) for n in (1, 2, 3)]
        for _ in range(10):
            await world.members[1].raft.transfer_leadership(timeout_s=10)
        await asyncio.gather(*writing)
        applied = await world.converge()
        assert len(applied) == len(set(applied)) == 300

    run(scenario)
