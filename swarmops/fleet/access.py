"""An open way into a swarm: the API of a manager that answers, whichever it is.

Called by every command that asks or changes a running swarm. Behind an inventory it tries the hosts
that may be managers first, the next one as soon as one is slow; behind a socket there is just one.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from swarmops.backends.base import HostSocket
from swarmops.client import Client, Info, SocketLike, UnreachableError, unix_socket
from swarmops.client.transport import TIMEOUT_S
from swarmops.errors import HostError, SwarmopsError
from swarmops.fleet.backend_of import inventory_of
from swarmops.fleet.current import Choice
from swarmops.fleet.inventory import Inventory
from swarmops.fleet.listed import listed
from swarmops.fleet.shells import Shells
from swarmops.fleet.target import Target
from swarmops.fleet.targets import target_of
from swarmops.fleet.waiting import Patience
from swarmops.model.resolved import resolve_types

ELECTION_PATIENCE = Patience(bound_s=3, period_s=0.2)
LEAD_S = 0.4
"""A host that has not answered after this long gets company."""

Probe = Callable[[str], Client]
"""Return the client of a host whose API works as a manager's; else raise SwarmopsError."""


class Swarm:
    """A manager's API, with the inventory's names if it was found through one."""

    def __init__(self, choice: Choice, shells: Shells | None = None) -> None:
        """Find a manager; ``shells`` are connections that are open already, and stay so."""
        self.choice = choice
        self.inventory: Inventory | None = None
        self._shells: Shells | None = shells
        self._owned: Shells | None = None
        if choice.inventory is not None:
            self.inventory = inventory_of(choice)
            if shells is None:
                self._shells = self._owned = Shells()
        self.client = self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        if self._owned is not None:
            self._owned.close()

    @property
    def hosts(self) -> Sequence[str]:
        """Names of the inventory's hosts; none behind a socket."""
        return tuple(self.inventory.hosts) if self.inventory else ()

    def reconnect(self) -> None:
        """Find a manager again, after the one in use has become a worker or gone away."""
        self.client.close()
        self.client = self._connect()

    def client_of(self, host: str) -> Client:
        """Return a client of one host's own API, whatever it is in the swarm."""
        if self.inventory is None or self._shells is None:
            raise AssertionError("hosts are known through an inventory only")
        return host_client(self.inventory, self._shells, host)

    def socket_of(self, host: str) -> HostSocket:
        """Connect to one host's own API. Raises HostError."""
        if self.inventory is None or self._shells is None:
            raise AssertionError("hosts are known through an inventory only")
        target = target_of(self.inventory.hosts[host])
        return self._shells.of(target).open_socket(target.place.socket)

    def _connect(self) -> Client:
        if self.choice.socket is not None:
            return local_client(self.choice.socket)
        if self.inventory is None:
            raise AssertionError("a choice has a socket or an inventory")
        others = [host for host in self.inventory.hosts if not self.inventory.may_manage(host)]
        return through_election([*self.inventory.manager_order(), *others], self._probe)

    def _probe(self, host: str) -> Client:
        client = self.client_of(host)
        try:
            refuse_unless_manager(host, client.info())
        except BaseException:
            client.close()
            raise
        return client


def local_client(socket: Path) -> Client:
    """Return the client of a node of this machine."""
    return Client(unix_socket(socket), name=str(socket))


def host_client(inventory: Inventory, shells: Shells, host: str) -> Client:
    """Return the client of one host's node; it connects with its first request."""
    return target_client(target_of(inventory.hosts[host]), shells)


def target_client(target: Target, shells: Shells, timeout_s: float = TIMEOUT_S) -> Client:
    """Return the client of one target's node; it connects with its first request."""

    def connect() -> SocketLike:
        try:
            return shells.of(target).open_socket(target.place.socket)
        except HostError as error:
            raise UnreachableError(str(error)) from error

    return Client(connect, name=target.name, timeout_s=timeout_s)


def refuse_unless_manager(host: str, info: Info) -> None:
    """Raise SwarmopsError unless the node takes part in the swarm as a manager with a leader."""
    swarm = info.swarm
    if swarm.local_node_state == "inactive":
        raise NoSwarmError(f"{host} is in no swarm")
    if swarm.local_node_state != "active":
        raise SwarmopsError(
            f"{host} is {swarm.local_node_state}: {swarm.error or 'no reason said'}"
        )
    if not swarm.control_available:
        raise SwarmopsError(f"{host} is a worker")
    if swarm.error:
        raise NoLeaderError(f"{host}: {swarm.error}")


class NoSwarmError(SwarmopsError):
    """The host's runtime answers, and is in no swarm."""


class NoLeaderError(SwarmopsError):
    """The host is a manager, and can't serve now: most often for want of a leader."""


def through_election(
    hosts: Sequence[str], probe: Probe, patience: Patience = ELECTION_PATIENCE
) -> Client:
    """Return the first manager's client; while managers only lack a leader, ask again, bounded.

    Raises as ``first_manager``.
    """
    deadline = patience.clock() + patience.bound_s
    while True:
        try:
            return first_manager(hosts, probe)
        except NoLeaderError as error:
            if patience.clock() >= deadline:
                raise SwarmopsError(str(error)) from None
        patience.sleep(patience.period_s)


def first_manager(hosts: Sequence[str], probe: Probe, lead_s: float = LEAD_S) -> Client:
    """Return the first client that a probe finds; a slow host delays the next by ``lead_s`` only.

    Probes run in threads that are left alone once one has won: what they find is closed.
    Raises SwarmopsError with every host's reason if all fail.
    """
    answers: queue.Queue[tuple[str, Client | Exception]] = queue.Queue()
    won = threading.Event()

    def ask(host: str) -> None:
        try:
            found: Client | Exception = probe(host)
        except Exception as error:  # noqa: BLE001 - a defect is raised to who waits for an answer
            found = error
        if won.is_set() and isinstance(found, Client):
            found.close()
        else:
            answers.put((host, found))

    resolve_types()
    waiting = list(hosts)
    errors: dict[str, SwarmopsError] = {}
    while len(errors) < len(hosts):
        if waiting:
            threading.Thread(target=ask, args=(waiting.pop(0),), daemon=True).start()
        try:
            host, found = answers.get(timeout=lead_s if waiting else None)
        except queue.Empty:
            continue
        if isinstance(found, Client):
            won.set()
            return found
        if not isinstance(found, SwarmopsError):
            raise found
        errors[host] = found
    raise _nobody(errors)


def _nobody(errors: dict[str, SwarmopsError]) -> SwarmopsError:
    if errors and all(isinstance(error, NoSwarmError) for error in errors.values()):
        return SwarmopsError("no host is in a swarm yet: 'swarmops apply' makes one")
    leaderless = any(isinstance(error, NoLeaderError) for error in errors.values())
    kind = NoLeaderError if leaderless else SwarmopsError
    return kind(f"no manager answers: {_reasons(errors)}")


def _reasons(errors: dict[str, SwarmopsError]) -> str:
    """Return the hosts' reasons; one that many share, such as a missing key file, is said once."""
    sharing: dict[str, list[str]] = {}
    for host, error in errors.items():
        head, _, reason = str(error).partition(": ")
        if head == host:
            sharing.setdefault(reason, []).append(host)
        else:
            sharing[str(error)] = []
    return "; ".join(
        f"{listed(hosts)}: {reason}" if hosts else reason for reason, hosts in sharing.items()
    )
