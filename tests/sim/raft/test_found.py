"""What the simulation found, each fault as the shortest story that shows it.

Seeds change their meaning when the simulation grows; these stories don't. Each names the seed that
found it (of the first version, commit fbdcb5e).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.sim.raft.__main__ import explain
from tests.sim.raft.clients import Clients
from tests.sim.raft.member import SimMember
from tests.sim.raft.world import Failure, World, play

Story = Callable[[World], Coroutine[Any, Any, None]]


def tell(story: Story, *, seed: int = 1, size: int = 3) -> None:
    """Play a story in a quiet world of ``size`` members."""
    world = World(seed)
    world.size = size

    async def whole(world: World) -> None:
        await world.begin(drift=0.0)
        world.network.delay_s = 0.001
        await world.form()
        world.clients = Clients(world)
        await story(world)

    try:
        play(world, seed, whole)
    except Failure as failure:
        pytest.fail(explain(failure), pytrace=False)


async def _write(world: World, count: int) -> None:
    for _ in range(count):
        member = world.leader() or world.running()[0]
        assert await world.clients.write(member, 1, 5.0)


def _down(world: World, member: SimMember, *, power: bool = False) -> None:
    """Take a member down for good; ``up`` brings it back."""
    fate, member.fate = member.fate, "out"
    world.crash(member, power=power)
    member.fate = fate


def test_what_a_killed_run_wrote_and_did_not_sync_is_synced_before_it_is_promised():
    """Killed between write and sync, started, and then without power: what it promised is there.

    Seeds 10, 47, 67: the log was read back through the kernel's memory and taken for durable.
    """

    async def story(world: World) -> None:
        first, *_, last = world.running()
        for cut_after in range(1, 12):
            await _write(world, 3)
            last.disk.cut_after = cut_after
            while last.is_running:
                await asyncio.sleep(0.01)
                await world.clients.write(first, 2, 5.0)
            await world.until(lambda: last in world.running(), 20, "it is back")
            await _write(world, 2)
            await asyncio.sleep(0.5)
            world.crash(last, power=True)
            await world.until(lambda: last in world.running(), 20, "it is back again")

    for seed in range(3):
        tell(story, seed=seed)


def test_a_joiner_that_crashed_before_it_knew_anything_still_gets_in():
    """Its peers stand beside its term: it listens to them again after the restart.

    Seeds 4, 5, 15, 31: it knew nobody, so it listened to nobody, for ever.
    """

    async def story(world: World) -> None:
        joiner = world.new_member()
        leader = world.leader()
        assert leader is not None
        peers = await leader.raft.add_member(joiner.me)
        world.network.cut_links(
            [(a, b) for a in world.members for b in world.members if joiner.me.raft_id in (a, b)]
        )
        assert await joiner.start("join", peers)
        joiner.fate = "member"
        world.crash(joiner, power=True)
        await world.until(lambda: joiner in world.running(), 20, "it is back")
        world.network.heal()
        await joiner.raft.wait(lambda s: joiner.me in s.voters, timeout_s=20)

    tell(story)


def test_a_member_that_was_away_while_the_group_changed_hears_a_leader_it_does_not_know():
    """The leader joined in its absence; its log is what would make it known.

    Seeds 18, 169: its connection was refused as a stranger's, and the member stayed behind.
    """

    async def story(world: World) -> None:
        away = world.running()[-1]
        _down(world, away)
        await world.join()
        newest = world.running()[-1]
        await newest.raft.wait(lambda s: newest.me in s.voters, timeout_s=20)
        await newest.raft.transfer_leadership(newest.me.raft_id, timeout_s=5)
        await newest.raft.wait(lambda s: s.is_leader, timeout_s=5)
        await world.restart(away)
        await away.raft.wait(lambda s: newest.me in s.voters, timeout_s=10)
        assert away.raft.status().leader == newest.me.raft_id

    tell(story)
