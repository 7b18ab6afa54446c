"""Everything at once, from seeds: what was acknowledged is there, on all, once, in one order."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from swarmops.raft import RaftError
from swarmops.raft.messages import Append


async def _client(world: Any, number: int, acknowledged: list[bytes], tried: set[bytes]) -> None:
    """Write for ever, through whoever runs."""
    count = 0
    while True:
        count += 1
        data = b"%d/%d" % (number, count)
        alive = world.alive()
        if alive:
            tried.add(data)
            try:
                await world.rng.choice(alive).raft.propose(data, timeout_s=3)
                acknowledged.append(data)
            except RaftError:
                pass
        await asyncio.sleep(world.rng.uniform(0.0, 0.05))


async def _mishap(world: Any) -> None:
    """Do one bad thing, and let it last."""
    what = world.rng.randrange(7)
    numbers = list(world.members)
    victim = world.members[world.rng.choice(numbers)]
    if what == 0:
        world.isolate(world.rng.choice(numbers))
    elif what == 1:
        one, other = world.rng.sample(numbers, 2)
        world.cut.add((world.members[one].me.raft_id, world.members[other].me.raft_id))
    elif what == 2 and not victim.is_off:
        victim.power_off()
    elif what == 3 and not victim.is_off:
        victim.disk.power_off_at = len(victim.disk.log) + world.rng.randrange(20)
    elif what == 4:
        victim.disk.full = True
    elif what == 5:
        for member in world.alive():
            member.power_off()
    elif what == 6:
        victim.disk_delay_s = 0.2
    world.relink()
    await asyncio.sleep(world.rng.uniform(0.1, 4))


async def _repair(world: Any) -> None:
    world.heal()
    for member in world.members.values():
        member.disk.full = False
        member.disk.power_off_at = None
        member.disk_delay_s = 0.001
        if member.is_off:
            await member.start("open")


@pytest.mark.parametrize("seed", range(12))
def test_nothing_acknowledged_is_lost_or_doubled(run: Any, seed: int):
    """Crashes, cuts, loss, repetition, slow and full disks, snapshots: one history remains."""

    async def scenario(world: Any) -> None:
        world.timing = msgspec.structs.replace(
            world.timing, snapshot_entries=60, trailing_entries=10, segment_bytes=4096
        )
        acknowledged: list[bytes] = []
        tried: set[bytes] = set()
        leaders: dict[int, str] = {}

        def watch(sender: str, _to: str, message: Any) -> bool:
            if isinstance(message, Append):
                assert leaders.setdefault(message.term, sender) == sender, "two leaders in a term"
            return True

        world.watch = watch
        await world.form(3 if seed % 3 else 5)
        world.loss, world.repeat = 0.02, 0.05
        clients = [asyncio.ensure_future(_client(world, n, acknowledged, tried)) for n in range(4)]
        for _ in range(15):
            await _mishap(world)
            if world.rng.random() < 0.6:
                await _repair(world)
        await _repair(world)
        await asyncio.sleep(5)
        before = len(acknowledged)
        await asyncio.sleep(5)
        assert len(acknowledged) > before, "no write is taken after all is repaired"
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        state = await world.converge()
        assert set(acknowledged) <= set(state)
        assert len(set(state)) == len(state), "something was applied twice"
        assert set(state) <= tried

    run(scenario, seed)
