"""What only the leader can answer: which answer is whose, and what many readers cost."""

from __future__ import annotations

import asyncio
from typing import Any

from swarmops.raft import Member
from swarmops.raft.messages import Admin, AdminReply, AppendAck, ReadIndex, ReadIndexReply

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


def test_many_readers_through_a_follower_ask_the_leader_together(run: Any):
    """A thousand at once: a handful of questions, and no reader is looked at for each answer."""

    async def scenario(world: Any) -> None:
        _, follower, _ = await asker(world)
        asked: list[ReadIndex] = []
        looked_at = 0

        def watch(_sender: str, _to: str, message: Any) -> bool:
            if isinstance(message, ReadIndex):
                asked.append(message)
            return True

        waiters = follower.raft._running.waiters
        look = waiters.look

        def count() -> None:
            nonlocal looked_at
            looked_at += len(waiters._waiting)
            look()

        waiters.look = count
        world.watch = watch
        await asyncio.gather(*(follower.raft.read_barrier() for _ in range(1000)))
        assert len(asked) <= 5
        assert looked_at <= 5000

    run(scenario)


def test_many_readers_on_a_leader_without_a_lease_share_its_rounds(run: Any):
    """It neither sends a heartbeat for each nor forgets the rounds that are being answered."""

    async def scenario(world: Any) -> None:
        leader, _, _ = await asker(world)
        engine = leader.raft._running.engine
        engine._lease_void_term = term = engine.term()
        before = engine.round()
        await asyncio.gather(*(leader.raft.read_barrier() for _ in range(1000)))
        assert engine.round() - before <= 5
        assert (engine.is_leading(), engine.term()) == (True, term)

    run(scenario)


def test_a_read_never_takes_the_answer_to_a_question_that_was_under_way(run: Any):
    """That one may be older than what was acknowledged when the reader came."""

    async def scenario(world: Any) -> None:
        leader, follower, _ = await asker(world)
        held: list[ReadIndex] = []

        def watch(_sender: str, _to: str, message: Any) -> bool:
            if isinstance(message, ReadIndex):
                held.append(message)
            return not isinstance(message, ReadIndex)

        world.watch = watch
        index = leader.status().commit_index
        first = asyncio.ensure_future(follower.raft.read_barrier())
        await world.eventually(lambda: held)
        second = asyncio.ensure_future(follower.raft.read_barrier())
        await asyncio.sleep(0)
        answer(follower, leader, ReadIndexReply(held[0].request, index))
        await first
        await world.eventually(lambda: len(held) == 2)
        assert not second.done()
        answer(follower, leader, ReadIndexReply(held[1].request, index))
        await second

    run(scenario)


def test_a_read_never_takes_a_round_that_was_under_way(run: Any):
    """A majority that answered it may have followed another leader before the reader came."""

    async def scenario(world: Any) -> None:
        leader, follower, _ = await asker(world)
        engine = leader.raft._running.engine
        engine._lease_void_term = engine.term()
        world.watch = lambda _from, _to, message: not isinstance(message, AppendAck)
        first = asyncio.ensure_future(leader.raft.read_barrier())
        await asyncio.sleep(0.001)
        under_way = engine.round()
        second = asyncio.ensure_future(leader.raft.read_barrier())
        await asyncio.sleep(0.001)
        acknowledgement = AppendAck(engine.term(), under_way, True, 0, 0)
        answer(leader, follower, acknowledgement)
        await first
        await asyncio.sleep(0.01)
        assert not second.done()
        assert engine.round() > under_way
        world.watch = lambda *_: True
        await second

    run(scenario)
