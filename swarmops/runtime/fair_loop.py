"""The daemon's event loop: each of its turns serves so many sockets at most.

asyncio handles all that is ready before it looks at its timers again. With the sessions of
thousands of agents that can be a second's work, and Raft's timers are to be on time: what is left
over stays ready, and is served in the next turns. A timer of the kernel's (``raft.clock``) is one
more socket to asyncio: each turn looks at it, however many others are ready.
"""

from __future__ import annotations

import asyncio
import math
import os
import select
import selectors
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

READY_PER_TURN = 32


class FairSelector(selectors.EpollSelector):
    """Returns a part of what is ready; the kernel goes round, so that everyone's turn comes."""

    def __init__(self) -> None:
        super().__init__()
        # The same set of descriptors by another name: the parent doesn't lend out its own.
        self._epoll = select.epoll.fromfd(os.dup(self.fileno()))
        self._urgent = select.epoll()
        self._urgent_fds: set[int] = set()

    def hurry(self, fd: int) -> None:
        """Look at this descriptor in each turn, until it is unregistered."""
        self._urgent.register(fd, select.EPOLLIN)
        self._urgent_fds.add(fd)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        """Watch it no more."""
        key = super().unregister(fileobj)
        if key.fd in self._urgent_fds:
            self._urgent_fds.remove(key.fd)
            self._urgent.unregister(key.fd)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait as the parent does: at least so many seconds, for ever if None."""
        wait_s = -1.0 if timeout is None else math.ceil(max(timeout, 0.0) * 1e3) * 1e-3
        found = self._epoll.poll(wait_s, READY_PER_TURN)
        if len(found) == READY_PER_TURN and self._urgent_fds:
            seen = {fd for fd, _ in found}
            found += [each for each in self._urgent.poll(0) if each[0] not in seen]
        ready = []
        for fd, events in found:
            key = self.get_key(fd)
            wanted = 0
            if events & ~select.EPOLLIN:
                wanted |= selectors.EVENT_WRITE
            if events & ~select.EPOLLOUT:
                wanted |= selectors.EVENT_READ
            ready.append((key, wanted & key.events))
        return ready

    def close(self) -> None:
        """Close all of it."""
        self._urgent.close()
        self._epoll.close()
        super().close()


class FairLoop(asyncio.SelectorEventLoop):
    """The event loop on such a selector."""

    def __init__(self) -> None:
        self._fair = FairSelector()
        super().__init__(self._fair)

    def add_urgent_reader(self, fd: int, callback: Callable[[], object]) -> None:
        """Do as ``add_reader``; it is called in the first turn in which it could be."""
        self.add_reader(fd, callback)
        self._fair.hurry(fd)
