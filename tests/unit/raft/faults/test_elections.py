"""Elections: a healthy leader stays, an isolated one stops, and no term is voted in twice."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from swarmops.raft import NoLeader, ProposalTimeout, termfile
from swarmops.raft.messages import Vote


def test_an_isolated_follower_neither_deposes_the_leader_nor_raises_the_term(run: Any):
    """Pre-vote: after 8 s alone it comes back to the same leader in the same term."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        leader = await world.leader()
        term = leader.status().term
        follower = next(n for n, m in world.members.items() if m is not leader)
        world.isolate(follower)
        await asyncio.sleep(8)
        assert world.members[follower].status().term == term
        world.heal()
        await asyncio.sleep(3)
        assert leader.status().is_leader
        assert leader.status().term == term

    run(scenario)


def test_a_vote_request_out_of_the_blue_does_not_move_a_member_with_a_live_leader(run: Any):
    """Stickiness: even with a higher term, who hears a leader ignores other candidates."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        leader = await world.leader()
        term = leader.status().term
        others = [m for m in world.members.values() if m is not leader]
        for target in (leader, others[0]):
            vote = Vote(term + 7, 10_000, term + 6, False, False)
            target.transport.upcalls.message_received(others[1].me.raft_id, vote)
        await asyncio.sleep(2)
        assert leader.status().is_leader
        assert {m.status().term for m in world.alive()} == {term}

    run(scenario)


@pytest.mark.parametrize("seed", range(5))
def test_an_isolated_leader_stops_serving_before_another_can_be_elected(run: Any, seed: int):
    """Two never lead within their lease at once; the old one steps down within a second."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        old = await world.leader()
        number = next(n for n, m in world.members.items() if m is old)
        world.isolate(number)
        cut_at = asyncio.get_running_loop().time()
        stopped_at = None
        while asyncio.get_running_loop().time() < cut_at + 3:
            serving = [m for m in world.alive() if m.status().is_leader]
            assert len(serving) <= 1
            if stopped_at is None and old not in serving:
                stopped_at = asyncio.get_running_loop().time()
            await asyncio.sleep(0.005)
        assert stopped_at is not None
        assert stopped_at - cut_at < world.timing.election_min_s
        assert not old.raft._running.engine.is_leading()
        with pytest.raises(NoLeader):
            await old.raft.read_barrier(timeout_s=1)
        with pytest.raises((NoLeader, ProposalTimeout)):
            await old.raft.propose(b"lost", timeout_s=1)
        new = await world.leader()
        await new.raft.propose(b"kept")
        world.heal()
        assert await world.converge() == [b"kept"]

    run(scenario, seed)


def test_a_read_on_a_cut_off_leader_is_never_stale(run: Any):
    """A barrier that returns on the old leader returned before anything newer was acknowledged."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        old = await world.leader()
        world.isolate(next(n for n, m in world.members.items() if m is old))
        acknowledged = False
        stale = False

        async def read() -> None:
            nonlocal stale
            while True:
                before = acknowledged
                try:
                    await old.raft.read_barrier(timeout_s=0.05)
                except NoLeader:
                    continue
                stale = stale or (before and b"new" not in old.machine.applied)
                await asyncio.sleep(0.01)

        reading = asyncio.ensure_future(read())
        other = next(m for m in world.alive() if m is not old)
        await other.raft.propose(b"new", timeout_s=5)
        acknowledged = True
        await asyncio.sleep(3)
        reading.cancel()
        assert not stale

    run(scenario)


def test_a_vote_is_on_disk_before_it_is_given(run: Any):
    """Whoever loses power right after voting has not forgotten it: no second vote in a term."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        for member in world.members.values():
            member.disk_delay_s = 0.03
        given: dict[tuple[str, int], str] = {}

        def watch(sender: str, to: str, message: Any) -> bool:
            if type(message).__name__ == "VoteReply" and message.granted and not message.pre:
                assert given.setdefault((sender, message.term), to) == to, "it voted twice"
                voter = next(m for m in world.members.values() if m.me.raft_id == sender)
                file = voter.disk.durable_names["term"]
                durable = type(voter.disk)()
                durable.files["term"] = bytearray(voter.disk.synced[id(file)])
                state = termfile.load(durable)
                assert state is not None
                assert (state.term, state.vote) == (message.term, to)
                asyncio.get_running_loop().call_soon(voter.power_off)
            return True

        world.watch = watch
        for _ in range(6):
            (await world.leader()).power_off()
            await asyncio.sleep(1.5)
            for member in world.members.values():
                if member.is_off:
                    await member.start("open")
        world.watch = lambda *_: True
        await world.leader()
        assert given

    run(scenario)


def test_a_leadership_callback_that_raises_harms_nothing(run: Any):
    """The others are called, the member leads on."""

    async def scenario(world: Any) -> None:
        await world.form(1)
        told: list[bool] = []

        def bad(leading: bool) -> None:  # noqa: FBT001 - the seam's signature
            raise ValueError(leading)

        one = world.members[1]
        one.power_off()
        starting = asyncio.ensure_future(one.start("open"))
        await asyncio.sleep(0)
        one.raft.on_leadership(bad)
        one.raft.on_leadership(told.append)
        await starting
        await world.leader()
        await one.raft.propose(b"a")
        assert told == [True]

    run(scenario)


def test_a_condition_that_raises_harms_nobody_else_who_waits(run: Any):
    """Its own caller gets the error; ticks and other waits go on."""

    async def scenario(world: Any) -> None:
        await world.form(1)
        raft = world.members[1].raft
        before = raft.status().applied_index

        def bad(status: Any) -> bool:
            if status.applied_index > before:
                raise ValueError(status.applied_index)
            return False

        waiting = [
            asyncio.ensure_future(raft.wait(condition, timeout_s=60))
            for condition in (bad, lambda status: status.applied_index > before)
        ]
        await asyncio.sleep(0)
        await raft.propose(b"a")
        failed, reached = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(failed, ValueError)
        assert not isinstance(reached, BaseException)
        assert reached.applied_index > before
        assert asyncio.get_running_loop().time() < 10

    run(scenario)


@pytest.mark.parametrize("seed", range(5))
def test_two_members_that_ask_at_the_same_moment_do_not_split_the_votes(run: Any, seed: int):
    """One gives way, so a leader is there at once, not after another time-out."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        old = await world.leader()
        left = [m for m in world.alive() if m is not old]
        old.power_off()
        now = asyncio.get_running_loop().time()
        for member in left:
            member.raft._running.engine._SyncObj__raftElectionDeadline = now + 0.6
        await asyncio.sleep(0.6)
        await world.leader(timeout_s=0.15)

    run(scenario, seed)


@pytest.mark.parametrize("seed", range(5))
def test_followers_that_the_leader_hung_up_on_stand_as_soon_as_votes_come_loose(
    run: Any, seed: int
):
    """A crash closes connections: nobody waits for the rest of the time-out that it drew."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        old = await world.leader()
        left = [m for m in world.alive() if m is not old]
        old.power_off()
        latest = asyncio.get_running_loop().time() + world.timing.election_max_s
        for member in left:
            member.raft._running.engine._SyncObj__raftElectionDeadline = latest
            member.transport.upcalls.peer_lost(old.me.raft_id)
        await world.leader(timeout_s=0.7)

    run(scenario, seed)


def test_time_outs_are_drawn_from_each_members_own_generator(run: Any):
    """So that a seed plays an election again to the last message, whatever else draws numbers."""
    told: list[list[tuple[float, str, str, str]]] = []

    async def scenario(world: Any) -> None:
        random.seed(len(told))
        messages: list[tuple[float, str, str, str]] = []
        told.append(messages)

        def watch(sender: str, to: str, message: Any) -> bool:
            now = asyncio.get_running_loop().time()
            messages.append((now, sender, to, type(message).__name__))
            return True

        world.watch = watch
        await world.form(3)
        (await world.leader()).power_off()
        await world.leader()

    state = random.getstate()
    try:
        run(scenario)
        run(scenario)
    finally:
        random.setstate(state)
    assert told[0] == told[1]
