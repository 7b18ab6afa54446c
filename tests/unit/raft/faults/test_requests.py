"""What only the leader can answer: which answer belongs to which question."""

from __future__ import annotations

import asyncio
from typing import Any

from swarmops.raft import Member
from swarmops.raft.messages import Admin, AdminReply, ReadIndexReply

NEW = Member("00000000000000cc", "nodecc", "10.0.0.97:2377")


async def asker(world: Any) -> tuple[Any, Any, Any]:
    """Form a group of three; return its leader, a follower that will ask it, and the other."""
    await world.form(3)
    leader = await world.leader()
    return leader, *(m for m in world.alive() if m is not leader)


def hold_questions(world: Any) -> list[Admin]:
    """Let no change of the membership reach the leader; return where the questions will be."""
    held: list[Admin] = []

    def watch(_sender: str, _to: str, message: Any) -> bool:
        if isinstance(message, Admin):
            held.append(message)
        return not isinstance(message, Admin)

    world.watch = watch
    return held


def answer(member: Any, sender: Any, message: Any) -> None:
    """Bring a member an answer."""
    member.transport.upcalls.message_received(sender.me.raft_id, message)


def test_an_answer_to_a_former_run_is_none_to_this_one(run: Any):
    """A change that was asked of nobody but by the killed run is not reported as done."""

    async def scenario(world: Any) -> None:
        leader, follower, _ = await asker(world)
        held = hold_questions(world)
        lost = asyncio.ensure_future(follower.raft.add_member(NEW))
        await world.eventually(lambda: held)
        follower.power_off()
        lost.cancel()
        await follower.start("open")
        await follower.raft.wait_for_leader(timeout_s=5)
        asking = asyncio.ensure_future(follower.raft.remove_member("0" * 15 + "7", timeout_s=5))
        await world.eventually(lambda: len(held) == 2)
        answer(follower, leader, AdminReply(held[0].request, "", ""))
        await asyncio.sleep(0.5)
        assert not asking.done()
        answer(follower, leader, AdminReply(held[1].request, "", ""))
        await asking

    run(scenario)


def test_an_answer_counts_from_whom_was_asked_and_of_the_kind_asked_for(run: Any):
    """One from another member, or to a read, neither ends a change's question nor repeats it."""

    async def scenario(world: Any) -> None:
        leader, follower, other = await asker(world)
        held = hold_questions(world)
        asking = asyncio.ensure_future(follower.raft.remove_member("0" * 15 + "7", timeout_s=5))
        await world.eventually(lambda: held)
        answer(follower, other, AdminReply(held[0].request, "", ""))
        answer(follower, leader, ReadIndexReply(held[0].request, 1))
        await asyncio.sleep(0.5)
        assert not asking.done()
        assert len(held) == 1
        answer(follower, leader, AdminReply(held[0].request, "", ""))
        await asking

    run(scenario)
