"""A group over real sockets and files: what the rest of swarmops relies on."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from swarmops.raft import COMMAND_BYTES_MAX, NoLeader, QuorumLoss, TooLarge

TOO_LARGE = "raft: raft message is too large and can't be sent"
"""Docker's words."""


async def test_a_group_of_one_answers_what_it_was_asked(group: Any):
    """A bootstrapped member leads itself and returns the state machine's result."""
    (one,) = await group.form(1)
    assert await one.raft.propose(b"a") == 1
    assert await one.raft.propose(b"b") == 2
    assert one.register.applied == [b"a", b"b"]


async def test_every_member_takes_proposals_and_reads_its_own_write(group: Any):
    """A proposal returns once it is applied on the member that was asked."""
    managers = await group.form(3)
    for number, manager in enumerate(managers):
        await manager.raft.propose(b"%d" % number)
        assert b"%d" % number in manager.register.applied
    assert await group.agree() == [b"0", b"1", b"2"]


async def test_many_proposals_from_all_members_are_applied_once_each(group: Any):
    """Hundreds in flight from three members at once end as one order on all."""
    managers = await group.form(3)
    await asyncio.gather(
        *(m.raft.propose(b"%d-%d" % (who, n)) for who, m in enumerate(managers) for n in range(300))
    )
    applied = await group.agree()
    assert len(applied) == len(set(applied)) == 900


async def test_the_death_of_the_leader_costs_no_write(group: Any):
    """Another leads, what was acknowledged is there, and new writes are taken."""
    await group.form(3)
    old = await group.leader()
    await old.raft.propose(b"before")
    await old.stop()
    survivor = next(m for m in group.managers.values() if m is not old)
    await survivor.raft.propose(b"after")
    assert await group.agree() == [b"before", b"after"]


async def test_a_proposal_under_way_when_the_leader_dies_is_applied_once(group: Any):
    """A retry after an ambiguous failure has the same request id and is not applied twice."""
    await group.form(3)
    old = await group.leader()
    asker = next(m for m in group.managers.values() if m is not old)
    waiting = [asyncio.ensure_future(asker.raft.propose(b"%d" % n)) for n in range(50)]
    await asyncio.sleep(0)
    await old.stop()
    await asyncio.gather(*waiting)
    applied = await group.agree()
    assert sorted(applied) == sorted(b"%d" % n for n in range(50))


async def test_members_come_back_from_disk_with_all_that_was_acknowledged(group: Any):
    """All stopped, all started: same members, same state."""
    managers = await group.form(3)
    for n in range(20):
        await managers[n % 3].raft.propose(b"%d" % n)
    for manager in managers:
        await manager.stop()
    for number in (1, 2, 3):
        await group.restart(number)
    leader = await group.leader()
    await leader.raft.propose(b"again")
    assert await group.agree() == [b"%d" % n for n in range(20)] + [b"again"]
    assert len(leader.raft.status().voters) == 3


async def test_a_removed_member_learns_of_it_and_its_id_is_barred(group: Any):
    """The group commits the removal, tells the member, and never takes its id again."""
    await group.form(3)
    leader = await group.leader()
    gone = next(m for m in group.managers.values() if m is not leader)
    told = asyncio.Event()
    gone.raft.on_removed(told.set)
    await leader.raft.remove_member(gone.member.raft_id)
    await asyncio.wait_for(told.wait(), 60)
    assert gone.member.raft_id in leader.raft.status().removed
    assert len(leader.raft.status().voters) == 2


async def test_a_leader_that_is_removed_hands_over_first(group: Any):
    """Asked on the leader itself, the removal ends with another leader and one member less."""
    await group.form(3)
    old = await group.leader()
    told = asyncio.Event()
    old.raft.on_removed(told.set)
    await old.raft.remove_member(old.member.raft_id)
    await asyncio.wait_for(told.wait(), 60)
    await old.stop()
    new = await group.leader()
    assert new is not old
    assert old.member.raft_id in new.raft.status().removed


async def test_a_member_that_was_away_hears_a_leader_that_joined_meanwhile(group: Any):
    """It dials nobody who could tell; the leader that dials it is a stranger, and is heard."""
    managers = await group.form(3)
    away = managers[2]
    await away.stop()
    newest = await group.join(4)
    await newest.raft.transfer_leadership(newest.member.raft_id)
    await newest.raft.wait(lambda s: s.is_leader, timeout_s=60)
    again = await group.restart(3)
    await again.raft.wait(lambda s: newest.member in s.voters, timeout_s=10)
    assert again.raft.status().leader == newest.member.raft_id


async def test_leadership_is_handed_over_without_an_election_timeout(group: Any):
    """The named member leads after the hand-over."""
    await group.form(3)
    old = await group.leader()
    heir = next(m for m in group.managers.values() if m is not old)
    await heir.raft.transfer_leadership(heir.member.raft_id)
    await heir.raft.wait(lambda s: s.is_leader, timeout_s=60)


async def test_a_removal_that_would_lose_quorum_is_refused_in_dockers_words(group: Any):
    """With one of three gone, another can't be removed; the last one never."""
    await group.form(3)
    leader = await group.leader()
    others = [m for m in group.managers.values() if m is not leader]
    await others[0].stop()
    await leader.raft.wait(lambda s: others[0].member.raft_id not in s.reachable, timeout_s=60)
    with pytest.raises(QuorumLoss, match="loss of quorum"):
        await leader.raft.remove_member(others[1].member.raft_id)
    await leader.raft.remove_member(others[0].member.raft_id)
    assert len(leader.raft.status().voters) == 2


async def test_the_sole_member_cant_be_removed(group: Any):
    """A group of one refuses to lose it."""
    (one,) = await group.form(1)
    with pytest.raises(QuorumLoss):
        await one.raft.remove_member(one.member.raft_id)


async def test_an_absent_joiner_never_stalls_a_group_of_one(group: Any):
    """A member that was added and never came is a learner: writes go on."""
    (one,) = await group.form(1)
    await one.raft.add_member(group.make(2).member)
    assert await one.raft.propose(b"a", timeout_s=60) == 1
    assert len(one.raft.status().voters) == 1
    assert len(one.raft.status().learners) == 1


async def test_without_a_majority_a_write_fails_with_dockers_words_in_time(group: Any):
    """One of three alone has no leader and says so within the bound."""
    await group.form(3)
    leader = await group.leader()
    for manager in group.managers.values():
        if manager is not leader:
            await manager.stop()
    await leader.raft.wait(lambda s: s.leader is None, timeout_s=60)
    with pytest.raises(NoLeader, match="does not have a leader"):
        await leader.raft.propose(b"x", timeout_s=0.3)
    with pytest.raises(NoLeader):
        await leader.raft.read_barrier(timeout_s=0.3)


async def test_a_read_barrier_on_any_member_shows_what_was_acknowledged(group: Any):
    """A write acknowledged by one member is seen on each after its barrier."""
    managers = await group.form(3)
    for n in range(10):
        await managers[n % 3].raft.propose(b"%d" % n)
        for manager in managers:
            await manager.raft.read_barrier(timeout_s=60)
            assert b"%d" % n in manager.register.applied


async def test_too_large_a_command_is_refused_in_dockers_words(group: Any):
    """The limit itself passes, from a follower too; a byte more doesn't."""
    managers = await group.form(3)
    for manager in managers:
        await manager.raft.propose(b"x" * COMMAND_BYTES_MAX)
        with pytest.raises(TooLarge, match=f"^{re.escape(TOO_LARGE)}$"):
            await manager.raft.propose(b"x" * (COMMAND_BYTES_MAX + 1))


async def test_a_raising_command_reaches_its_proposer_and_harms_nothing_else(group: Any):
    """The error is the proposer's; every member goes on."""
    managers = await group.form(3)
    for manager in managers:
        with pytest.raises(ValueError, match="raise:"):
            await manager.raft.propose(b"raise:me")
        await manager.raft.propose(b"fine")
    assert await group.agree() == [b"fine"] * 3


async def test_snapshots_are_drawn_and_loaded_off_the_loop(group: Any):
    """What a large state costs to write, to read and to decode, the loop does not wait for."""
    group.timing = msgspec.structs.replace(group.timing, trailing_entries=1, lagging_entries=0)
    (one,) = await group.form(1)
    for n in range(5):
        await one.raft.propose(b"%d" % n)
    loop, went_on = asyncio.get_running_loop(), []

    def hold() -> None:
        """Go on once the loop has: on its own thread it would wait in vain."""
        turned = threading.Event()
        loop.call_soon_threadsafe(turned.set)
        went_on.append(turned.wait(1))

    def drawn(state: list[bytes]) -> Iterator[bytes]:
        hold()
        yield from state

    one.register.snapshot = lambda: drawn(list(one.register.applied))
    one.raft.snapshot_now()
    async with asyncio.timeout(60):
        while one.raft._running.journal.first_index < 5:  # noqa: ASYNC110 - bounded, by the time-out
            await asyncio.sleep(0.01)
    two = group.make(2)

    def load(chunks: Iterator[bytes]) -> Callable[[], None]:
        state = list(chunks)
        hold()
        return lambda: two.register.restore(iter(state))

    two.register.load = load
    await two.listen()
    await two.raft.start("join", await one.raft.add_member(two.member))
    async with asyncio.timeout(60):
        while two.register.applied != one.register.applied:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.01)
    assert two.register.restored == 1
    assert went_on == [True, True]
