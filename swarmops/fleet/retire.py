"""Take some hosts out of a swarm that goes on, in the order that is safe, and make them bare.

Called by ``swarmops destroy --limit``. One host after the other: its tasks move, leadership moves,
it stops being a manager, really, it leaves, the swarm forgets it, and its files go. A manager goes
only while the others answer and are a quorum without it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping

import msgspec

from swarmops.backends.base import Backend, Facts
from swarmops.errors import ApiError, HostError, SwarmopsError
from swarmops.fleet.access import target_client
from swarmops.fleet.facts import gather
from swarmops.fleet.inventory import Inventory
from swarmops.fleet.keepers import SwarmKeeper
from swarmops.fleet.lease import Lease
from swarmops.fleet.managers import Managers
from swarmops.fleet.names import host_of
from swarmops.fleet.node_waits import wait_for_drain, wait_for_role
from swarmops.fleet.observation import HOST_LABEL
from swarmops.fleet.observe import reason_of
from swarmops.fleet.pool import FORKS, run_on
from swarmops.fleet.quorum import gate_refusal
from swarmops.fleet.roles import role_lack
from swarmops.fleet.shells import Shells
from swarmops.fleet.steps import Gate
from swarmops.fleet.target import Target
from swarmops.fleet.targets import target_of
from swarmops.fleet.waiting import Patience, wait_until
from swarmops.model.base import given
from swarmops.model.node import Availability, Node, NodeState, Role

Say = Callable[[str, str], None]
"""Hears a host's name and what is done with it now."""
TIMEOUT_S = 25.0
"""A manager of Docker's waits 20 s for a leader before it says that it has none."""
_NOT_FOUND = 404


class Patiences(msgspec.Struct, frozen=True):
    """How long each of the waits may take."""

    drain: Patience = Patience(bound_s=120, period_s=0.3)
    demote: Patience = Patience(bound_s=30)
    leave: Patience = Patience(bound_s=20, period_s=0.2)


def retire(
    inventory: Inventory,
    backend: Backend,
    shells: Shells,
    names: Collection[str],
    *,
    say: Say,
    forks: int = FORKS,
    patiences: Patiences = Patiences(),  # noqa: B008 - frozen
) -> dict[str, str]:
    """Take the hosts out; return the reason for each where that failed.

    Raises LockedError if somebody else changes the swarm, SwarmopsError if no manager answers.
    """
    targets = {name: target_of(host) for name, host in inventory.hosts.items()}
    looked = run_on(
        targets.values(),
        lambda target: gather(shells.of(target), target.place, backend.home),
        forks=forks,
    )
    hosts = [name for name, facts in looked.results.items() if facts.api and facts.api.swarm]
    hosts.sort(key=lambda name: name in names)
    managers = Managers(lambda name: target_client(targets[name], shells, TIMEOUT_S), hosts)
    own = {name: node_id for name, facts in looked.results.items() if (node_id := _node_id(facts))}
    work = _Retiring(managers, targets, shells, backend, own=own, say=say, patiences=patiences)
    errors = {}
    with contextlib.closing(managers), Lease(f"take out {', '.join(names)}") as lease:
        lease.extend(SwarmKeeper(managers))
        for name in names:
            try:
                lease.check()
                work.one(name, looked.results.get(name))
                if name in looked.errors:
                    raise looked.errors[name]
            except SwarmopsError as error:
                errors[name] = reason_of(error)
                say(name, errors[name])
    return errors


def _node_id(facts: Facts) -> str:
    """Return the ID of the node that a machine says it is, '' if it is none."""
    told = (facts.api.info if facts.api is not None else None) or {}
    return str((told.get("Swarm") or {}).get("NodeID", ""))


def _label(node: Node) -> str:
    return given(node.spec.labels, {}).get(HOST_LABEL, "")


class _Retiring:
    def __init__(
        self,
        managers: Managers,
        targets: Mapping[str, Target],
        shells: Shells,
        backend: Backend,
        *,
        own: Mapping[str, str],
        say: Say,
        patiences: Patiences,
    ) -> None:
        self._managers = managers
        self._targets = targets
        self._shells = shells
        self._backend = backend
        self._own = own
        self._say = say
        self._patiences = patiences

    def one(self, name: str, facts: Facts | None) -> None:
        """Take one host out; without facts it can't be reached, and only its node goes.

        Its node is the one that its machine says it is; others of its name are from earlier lives.
        """
        nodes = self._managers.ask(lambda manager: manager.nodes())
        own = next((node for node in nodes if node.id == self._own.get(name)), None)
        if own is not None and (other := _label(own)) != name and other in self._targets:
            raise HostError(
                name,
                f"the machine at its address is {other}'s: nothing was done to it; correct the"
                " ansible_host that is wrong",
            )
        for node in nodes:
            if node is not own and host_of(node) == name and node.id not in self._own.values():
                self._take_out(name, node)
        if own is not None:
            self._take_out(name, own, facts)
        elif facts is not None:
            self._leave(name, facts)
        if facts is not None:
            self._say(name, "removing what apply brought")
            target = self._targets[name]
            self._backend.remove(self._shells.of(target), facts, target.place)

    def _take_out(self, name: str, node: Node, facts: Facts | None = None) -> None:
        self._pass(name, node.id)
        if node.status.state is not NodeState.DOWN:
            self._drain(name, node.id)
        if role_lack(node, Role.WORKER):
            self._pass(name, node.id)  # the drain took its time: another may have died meanwhile
            self._demote(name, node.id)
        if facts is not None:
            self._leave(name, facts)
        self._say(name, "forgetting its node")
        try:
            wait_until(lambda: self._still_there(node.id), self._patiences.leave)
            self._managers.ask(lambda manager: manager.remove_node(node.id, force=True))
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise

    def _leave(self, name: str, facts: Facts) -> None:
        if not facts.running:
            return
        with target_client(self._targets[name], self._shells, TIMEOUT_S) as client:
            if client.info().swarm.local_node_state != "inactive":
                self._say(name, "leaving the swarm")
                client.leave(force=True)

    def _pass(self, name: str, node_id: str) -> None:
        nodes = self._managers.ask(lambda manager: manager.nodes())
        if refusal := gate_refusal(Gate.REMOVE_MANAGER, nodes, node_id):
            raise HostError(name, refusal)

    def _drain(self, name: str, node_id: str) -> None:
        self._say(name, "moving its tasks")
        self._managers.ask(
            lambda manager: manager.change_node(
                node_id,
                lambda spec: msgspec.structs.replace(spec, availability=Availability.DRAIN),
            )
        )
        wait_for_drain(self._managers, name, node_id, self._patiences.drain)

    def _demote(self, name: str, node_id: str) -> None:
        self._say(name, "giving up its place among the managers")
        # It answers as a manager a little longer; asking it then would mix up its last words.
        self._managers.drop(name)
        self._managers.ask(
            lambda manager: manager.change_node(
                node_id, lambda spec: msgspec.structs.replace(spec, role=Role.WORKER)
            )
        )
        wait_for_role(self._managers, name, node_id, Role.WORKER, self._patiences.demote)

    def _still_there(self, node_id: str) -> str:
        node = self._managers.ask(lambda manager: manager.node(node_id))
        return "" if node.status.state is NodeState.DOWN else "it is not down yet"
