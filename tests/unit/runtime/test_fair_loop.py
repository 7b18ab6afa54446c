"""An event loop whose turns are short, however many sockets are ready."""

from __future__ import annotations

import asyncio
import selectors
import socket
import time

import pytest

from swarmops.raft import BootClock
from swarmops.runtime.fair_loop import READY_PER_TURN, FairLoop, FairSelector


def pairs(count: int) -> list[tuple[socket.socket, socket.socket]]:
    """Return connected sockets, each second one with something to read."""
    made = [socket.socketpair() for _ in range(count)]
    for near, _ in made:
        near.send(b"x")
    return made


def close(made: list[tuple[socket.socket, socket.socket]]) -> None:
    """Close them all."""
    for pair in made:
        for each in pair:
            each.close()


def test_everyones_turn_comes_though_all_stay_ready() -> None:
    """Nobody reads, so that all are ready all the time: a few rounds still show each of them."""
    made, selector = pairs(3 * READY_PER_TURN), FairSelector()
    for _, far in made:
        selector.register(far, selectors.EVENT_READ)
    seen: set[object] = set()
    for _ in range(3):
        ready = selector.select(0)
        assert len(ready) == READY_PER_TURN
        seen.update(key.fileobj for key, _ in ready)
    assert seen == {far for _, far in made}
    selector.close()
    close(made)


def test_reading_and_writing_are_told_apart() -> None:
    """As the selector does that it stands for."""
    [(near, far)] = made = pairs(1)
    selector = FairSelector()
    selector.register(near, selectors.EVENT_READ | selectors.EVENT_WRITE)
    selector.register(far, selectors.EVENT_READ)
    found = {key.fileobj: events for key, events in selector.select(0)}
    assert found == {near: selectors.EVENT_WRITE, far: selectors.EVENT_READ}
    selector.unregister(near)
    assert [key.fileobj for key, _ in selector.select(None)] == [far]
    selector.close()
    close(made)


def test_it_waits_as_long_as_it_is_told() -> None:
    """Neither for ever nor not at all."""
    selector = FairSelector()
    began_s = time.monotonic()
    assert selector.select(0.02) == []
    assert selector.select(-1) == []
    assert 0.02 <= time.monotonic() - began_s < 5
    selector.close()


@pytest.mark.parametrize("clock", [None, BootClock()], ids=["asyncio's", "Raft's"])
def test_a_timer_that_is_due_does_not_wait_for_all_sockets(clock: BootClock | None) -> None:
    """Of many readers that are ready only a few run before it."""
    made = pairs(10 * READY_PER_TURN)
    ran: list[object] = []

    async def main() -> int:
        loop = asyncio.get_running_loop()

        def read(far: socket.socket) -> None:
            ran.append(far)
            loop.remove_reader(far)

        due: asyncio.Future[int] = loop.create_future()
        for _, far in made:
            loop.add_reader(far, read, far)
        (clock or loop).call_later(0, lambda: due.set_result(len(ran)))
        return await due

    with asyncio.Runner(loop_factory=FairLoop) as runner:
        assert runner.run(main()) <= 2 * READY_PER_TURN
    close(made)
