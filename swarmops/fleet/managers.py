"""The managers' APIs during an apply: whichever answers, changed when it stops doing so.

Called by the actions, from several threads at once. While managers come and go, the one in use may
become a worker, lose its leader for a moment, or die: the request is then made again elsewhere,
bounded, as long as nothing but the connection or the leader is to blame.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from swarmops.client import Client, UnreachableError
from swarmops.errors import ApiError, SwarmopsError
from swarmops.fleet.waiting import PERIOD_S, Patience

T = TypeVar("T")

PATIENCE = Patience(bound_s=15, period_s=PERIOD_S)
_NO_MANAGER = 503
_NO_LEADER = "does not have a leader"


def may_pass(error: SwarmopsError) -> bool:
    """Say whether an error is about the manager that was asked, not about what it was asked."""
    if isinstance(error, UnreachableError):
        return True
    return isinstance(error, ApiError) and (
        error.status == _NO_MANAGER or _NO_LEADER in error.message
    )


class Managers:
    """Clients of the hosts that are managers, the preferred one first."""

    def __init__(
        self,
        client_of: Callable[[str], Client],
        hosts: Iterable[str] = (),
        patience: Patience = PATIENCE,
    ) -> None:
        self._client_of = client_of
        self._hosts = list(hosts)
        self._patience = patience
        self._clients: dict[str, Client] = {}
        self._lock = threading.Lock()

    @property
    def known(self) -> bool:
        """Some host is a manager, as far as is known."""
        return bool(self._hosts)

    def add(self, host: str) -> None:
        """Learn of another manager; it is asked last."""
        with self._lock:
            if host not in self._hosts:
                self._hosts.append(host)

    def know(self, hosts: Iterable[str]) -> None:
        """Learn anew which hosts are managers, the preferred one first."""
        with self._lock:
            self._hosts = list(hosts)

    def drop(self, host: str) -> None:
        """Ask this host no more: it is a manager no longer."""
        with self._lock:
            if host in self._hosts:
                self._hosts.remove(host)

    def ask(self, request: Callable[[Client], T]) -> T:
        """Make a request of a manager, of the next one if this one can't answer, until time is up.

        Each is asked, however long another kept us waiting to say that it knows no leader. A
        request that writes may so be made twice; it must bear that. Raises what the last manager's
        client raised.
        """
        deadline = self._patience.clock() + self._patience.bound_s
        asked: set[str] = set()
        while True:
            host, client, more = self._first(asked)
            try:
                return request(client)
            except SwarmopsError as error:
                late = self._patience.clock() >= deadline
                if not may_pass(error) or (late and not more):
                    raise
                self._put_last(host)
            asked = {*asked, host} if more else set()
            self._patience.sleep(self._patience.period_s)

    def own(self, host: str) -> Client:
        """Return the client of one host's own node, manager or not; kept open like the others."""
        with self._lock:
            return self._kept(host)

    def close(self) -> None:
        """Close all clients."""
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()

    def _first(self, asked: Collection[str]) -> tuple[str, Client, bool]:
        """Return the first that was not asked, the first of all if all were; and whether more are.

        Other threads put hosts last meanwhile: without ``asked`` one might meet the same for ever.
        """
        with self._lock:
            if not self._hosts:
                raise SwarmopsError("no manager of the swarm can be reached: start one of them")
            host, *more = [host for host in self._hosts if host not in asked] or self._hosts
            return host, self._kept(host), bool(more)

    def _kept(self, host: str) -> Client:
        if host not in self._clients:
            self._clients[host] = self._client_of(host)
        return self._clients[host]

    def _put_last(self, host: str) -> None:
        with self._lock:
            if host in self._hosts:
                self._hosts.remove(host)
                self._hosts.append(host)
