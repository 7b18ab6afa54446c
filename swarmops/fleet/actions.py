"""What each kind of step does: the one place where apply changes a host or the swarm.

Called by ``execute``, many steps at once. Each looks again before it acts, so that what came true
meanwhile is left alone and what became wrong is refused. It plans nothing.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import msgspec
from msgspec import UNSET

from swarmops.backends.base import Backend, Shell
from swarmops.client import Client, Info
from swarmops.errors import ApiError, HostError, SwarmopsError
from swarmops.fleet.apply_lock import ApplyLock
from swarmops.fleet.inventory import Inventory
from swarmops.fleet.managers import Managers
from swarmops.fleet.node_waits import wait_for_drain, wait_for_role
from swarmops.fleet.observe import Seen
from swarmops.fleet.quorum import gate_refusal
from swarmops.fleet.references import with_ids
from swarmops.fleet.shells import Shells
from swarmops.fleet.steps import Gate, Step, StepKind
from swarmops.fleet.supply import Supply
from swarmops.fleet.targets import target_of
from swarmops.fleet.waiting import Patience, wait_until
from swarmops.model.base import given
from swarmops.model.defaults import image, task_spec
from swarmops.model.node import Availability, NodeSpec, Reachability, Role
from swarmops.model.service import ServiceSpec
from swarmops.model.swarm import InitRequest, JoinRequest

GATE_PATIENCE = Patience(bound_s=15)
NODE_PATIENCE = Patience(bound_s=10)
_NOT_FOUND = 404
_CONFLICT = 409


Login = Callable[[str], str]
"""An image → what its registry is shown (``X-Registry-Auth``), empty for nothing."""


def no_login(_image: str) -> str:
    """Show no registry anything."""
    return ""


class Actions:
    """Does the steps of one plan. ``seen`` is what the plan was made from."""

    def __init__(  # noqa: PLR0917 - what a run works on, each of its own kind
        self,
        inventory: Inventory,
        backend: Backend,
        shells: Shells,
        seen: Seen,
        managers: Managers,
        lock: ApplyLock | None = None,
        supply: Supply | None = None,
        login: Login = no_login,
    ) -> None:
        self._inventory = inventory
        self._backend = backend
        self._shells = shells
        self._seen = seen
        self._managers = managers
        self._lock = lock
        self._login = login
        self._one_manager = threading.Lock()
        self._node_ids: dict[str, str] = {}
        """Of the nodes that said it when they were made, so that nobody has to ask them again."""
        self._kinds: dict[StepKind, Callable[[Step], bool]] = {
            StepKind.INSTALL: self._install,
            StepKind.START: self._start,
            StepKind.INIT: self._init,
            StepKind.JOIN: self._join,
            StepKind.LEAVE: self._leave,
            StepKind.UPDATE_NODE: self._update_node,
            StepKind.REMOVE_NODE: self._remove_node,
            StepKind.CREATE_SERVICE: self._create_service,
            StepKind.UPDATE_SERVICE: self._update_service,
            StepKind.REMOVE_SERVICE: self._remove_service,
            **(supply.kinds if supply is not None else {}),
        }

    def do(self, step: Step) -> bool:
        """Do a step; return whether there was anything to do. Raises SwarmopsError."""
        # A gate's answer holds only while no other manager comes, goes or restarts.
        with contextlib.nullcontext() if step.gate is Gate.NONE else self._one_manager:
            if self._lock is not None:
                self._lock.check()
            if step.gate is not Gate.NONE:
                self._pass(step)
            return self._kinds[step.kind](step)

    def _pass(self, step: Step) -> None:
        def refusal() -> str:
            nodes = self._managers.ask(lambda manager: manager.nodes())
            return gate_refusal(step.gate, nodes, step.node_id) or ""

        if reason := wait_until(refusal, GATE_PATIENCE):
            raise HostError(step.target, reason)

    # -- hosts

    def _shell(self, step: Step) -> Shell:
        return self._shells.of(target_of(self._inventory.hosts[step.target]))

    def _install(self, step: Step) -> bool:
        looked = self._seen.looked[step.target]
        place = target_of(self._inventory.hosts[step.target]).place
        self._backend.install(self._shell(step), looked.facts, place, looked.artifact)
        return True

    def _start(self, step: Step) -> bool:
        looked = self._seen.looked[step.target]
        place = target_of(self._inventory.hosts[step.target]).place
        self._backend.start(self._shell(step), looked.facts, place)
        return True

    # -- membership

    def _init(self, step: Step) -> bool:
        host = self._inventory.hosts[step.target]
        client = self._managers.own(step.target)
        info = _refuse_member(step.target, client)
        self._node_ids[step.target] = client.init(
            InitRequest(
                spec=self._lock.spec_with_lock(info.system_time) if self._lock else UNSET,
                listen_addr=host.listen_addr,
                advertise_addr=host.advertise_addr or "",
                availability=step.availability.value if step.availability else "",
            )
        )
        self._managers.add(step.target)
        if self._lock is not None:
            self._lock.formed()
        return True

    def _join(self, step: Step) -> bool:
        host = self._inventory.hosts[step.target]
        tokens = given(self._managers.ask(lambda manager: manager.swarm()).join_tokens, None)
        if tokens is None:
            raise HostError(step.target, "the manager gave no join token: it must be a newer one")
        role = step.role or Role.WORKER
        client = self._managers.own(step.target)
        _refuse_member(step.target, client)
        client.join(
            JoinRequest(
                listen_addr=host.listen_addr,
                advertise_addr=host.advertise_addr or "",
                remote_addrs=self._manager_addresses(),
                join_token=tokens.manager if role is Role.MANAGER else tokens.worker,
                availability=step.availability.value if step.availability else "",
            )
        )
        if role is Role.MANAGER:
            self._managers.add(step.target)
        return True

    def _manager_addresses(self) -> list[str]:
        """Return where managers can be joined, those that answer first."""
        nodes = self._managers.ask(lambda manager: manager.nodes())
        found = [(node, given(node.manager_status, None)) for node in nodes]
        listed = [
            (status.reachability is not Reachability.REACHABLE, status.addr)
            for _, status in found
            if status is not None and status.addr
        ]
        return [str(addr) for _, addr in sorted(listed, key=lambda item: item[0])]

    def _leave(self, step: Step) -> bool:
        self._managers.drop(step.target)
        client = self._managers.own(step.target)
        if client.info().swarm.local_node_state == "inactive":
            return False
        client.leave(force=True)
        return True

    # -- nodes

    def _update_node(self, step: Step) -> bool:
        node_id = step.node_id or self._own_node_id(step)

        def change(spec: NodeSpec) -> NodeSpec:
            labels = dict[str, str](given(spec.labels, {}))
            for key, value in step.labels.items():
                labels.pop(key, None) if value is None else labels.__setitem__(key, value)
            return msgspec.structs.replace(
                spec,
                role=step.role or spec.role,
                availability=step.availability or spec.availability,
                labels=labels if step.labels else spec.labels,
            )

        if step.role is Role.WORKER:
            # It answers as a manager a little longer; asking it then would mix up its last words.
            self._managers.drop(step.target)
        changed = self._managers.ask(lambda manager: manager.change_node(node_id, change))
        if step.role is not None:
            wait_for_role(self._managers, step.target, node_id, step.role)
            if step.role is Role.MANAGER:
                self._managers.add(step.target)
        if changed and step.availability is Availability.DRAIN:
            wait_for_drain(self._managers, step.target, node_id)
        return changed

    def _own_node_id(self, step: Step) -> str:
        """Return the ID of the target's node, once the managers know it.

        A Docker Engine that has just become a manager takes a second to say it: whoever joins
        doesn't ask, so that the next one needn't wait for that.
        """
        node_id = self._node_ids.get(step.target, "")
        if not node_id:
            node_id = self._managers.own(step.target).info().swarm.node_id
        if not node_id:
            raise HostError(step.target, "it is in no swarm, so it has no node to change")

        def unknown() -> str:
            nodes = self._managers.ask(lambda manager: manager.nodes())
            known = any(node.id == node_id for node in nodes)
            return "" if known else f"the managers don't know its node {node_id}"

        if reason := wait_until(unknown, NODE_PATIENCE):
            raise HostError(step.target, reason)
        return node_id

    def _remove_node(self, step: Step) -> bool:
        try:
            self._managers.ask(lambda manager: manager.remove_node(step.node_id, force=True))
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise
            return False
        return True

    # -- services

    def _create_service(self, step: Step) -> bool:
        spec = self._spec(step)
        auth = self._login(image(task_spec(spec)))
        try:
            self._managers.ask(lambda manager: manager.create_service(spec, registry_auth=auth))
        except ApiError as error:
            if error.status != _CONFLICT:
                raise
            # Made meanwhile: by this very request, if its answer was lost, or by somebody else.
            there = self._managers.ask(lambda manager: manager.service(step.target))
            if there.spec != spec:
                raise SwarmopsError(
                    f"somebody made another service '{step.target}' meanwhile: apply again"
                ) from error
        return True

    def _update_service(self, step: Step) -> bool:
        spec, version = self._spec(step), step.version
        if version is None:
            raise ValueError(f"step {step.id} has no version")
        auth = self._login(image(task_spec(spec)))
        try:
            self._managers.ask(
                lambda m: m.update_service(step.service_id, version, spec, registry_auth=auth)
            )
        except ApiError as error:
            if "out of sequence" not in error.message:
                raise
            there = self._managers.ask(lambda manager: manager.service(step.service_id))
            if there.spec != spec:
                raise SwarmopsError(
                    "somebody changed it since the plan was made: apply again"
                ) from error
        return True

    def _remove_service(self, step: Step) -> bool:
        try:
            self._managers.ask(lambda manager: manager.remove_service(step.service_id))
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise
            return False
        return True

    def _spec(self, step: Step) -> ServiceSpec:
        if step.service is None:
            raise ValueError(f"step {step.id} has no service")
        return with_ids(step.service, self._managers)


def _refuse_member(host: str, client: Client) -> Info:
    info = client.info()
    state = info.swarm.local_node_state
    if state != "inactive":
        raise HostError(
            host, f"it is {state} in a swarm since the plan was made: apply again to look anew"
        )
    return info
