"""The daemon's event loop: each of its turns serves so many sockets at most.

asyncio handles all that is ready before it looks at its timers again. With the sessions of
thousands of agents that can be a second's work, and Raft's timers are to be on time: what is left
over stays ready, and is served in the next turns.
"""

from __future__ import annotations

import asyncio
import math
import os
import select
import selectors

READY_PER_TURN = 32


class FairSelector(selectors.EpollSelector):
    """Returns a part of what is ready; the kernel goes round, so that everyone's turn comes."""

    def __init__(self) -> None:
        super().__init__()
        # The same set of descriptors by another name: the parent doesn't lend out its own.
        self._epoll = select.epoll.fromfd(os.dup(self.fileno()))

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait as the parent does: at least so many seconds, for ever if None."""
        wait_s = -1.0 if timeout is None else math.ceil(max(timeout, 0.0) * 1e3) * 1e-3
        ready = []
        for fd, events in self._epoll.poll(wait_s, READY_PER_TURN):
            key = self.get_key(fd)
            wanted = 0
            if events & ~select.EPOLLIN:
                wanted |= selectors.EVENT_WRITE
            if events & ~select.EPOLLOUT:
                wanted |= selectors.EVENT_READ
            ready.append((key, wanted & key.events))
        return ready

    def close(self) -> None:
        """Close both names."""
        self._epoll.close()
        super().close()


def fair_loop() -> asyncio.AbstractEventLoop:
    """Make such an event loop."""
    return asyncio.SelectorEventLoop(FairSelector())
