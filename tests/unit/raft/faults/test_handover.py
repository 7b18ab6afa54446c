"""Handing over: an order to stand is for the term of who gave it, whenever it is read."""

from __future__ import annotations

import asyncio
from typing import Any

from swarmops.raft.messages import Append, AppendAck, TimeoutNow, Vote
from tests.unit.raft.faults.test_replication import LEADER, OTHER, Follower, entry, follow


async def _heard_at_once(follower: Follower, *said: tuple[str, Any]) -> list[Vote]:
    """Read messages in one turn of the loop, as after a pause; return whose votes it asked for."""
    follower.answers.clear()
    follower.member.transport.linked = {LEADER.raft_id, OTHER.raft_id}
    for sender, message in said:
        follower.member.transport.upcalls.message_received(sender, message)
    await asyncio.sleep(0.1)
    return [answer for answer in follower.answers if isinstance(answer, Vote)]


def test_an_order_of_the_present_leader_is_obeyed(run: Any):
    """It stands at once, and asks for votes that break with the leader."""

    async def play(follower: Follower) -> None:
        votes = await _heard_at_once(follower, (LEADER.raft_id, TimeoutNow(1)))
        assert {(vote.term, vote.pre, vote.force) for vote in votes} == {(2, False, True)}

    follow(run, play)


def test_an_order_of_a_former_term_deposes_nobody(run: Any):
    """A member that was paused finds it beside the new leader's entries, in one turn."""

    async def play(follower: Follower) -> None:
        entries = Append(2, 1, 2, 1, 3, [entry(2, "x")])
        ordered, led = (LEADER.raft_id, TimeoutNow(1)), (OTHER.raft_id, entries)
        assert await _heard_at_once(follower, ordered, led) == []

    follow(run, play)


def test_a_new_leader_waits_for_answers_before_it_calls_members_lost(run: Any):
    """Who has not answered it yet is no reason to refuse that another goes."""

    async def scenario(world: Any) -> None:
        await world.form(3)
        old = await world.leader()
        new, third = (member for member in world.members.values() if member is not old)
        slow = [third.me.raft_id]
        world.watch = lambda who, _to, said: who not in slow or not isinstance(said, AppendAck)
        await old.raft.transfer_leadership(new.me.raft_id)
        asyncio.get_running_loop().call_later(0.3, slow.clear)
        await new.raft.remove_member(old.me.raft_id)
        assert old.me not in new.raft.status().members

    run(scenario)
