"""A plan as data: its steps, why each is there, what must hold before it and what proves it done.

Made by ``swarmops.fleet.plan``, shown by ``plan_text``, carried out by apply; does nothing itself.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from swarmops.model.node import Availability, Role
from swarmops.model.service import ServiceSpec


class StepKind(Enum):
    """What a step does; the value is the first half of its ID."""

    INSTALL = "install"
    START = "start"
    INIT = "init"
    JOIN = "join"
    LEAVE = "leave"
    UPDATE_NODE = "update_node"
    REMOVE_NODE = "remove_node"
    CREATE_SERVICE = "create_service"
    UPDATE_SERVICE = "update_service"
    REMOVE_SERVICE = "remove_service"
    CREATE_NETWORK = "create_network"
    CREATE_SECRET = "create_secret"  # noqa: S105 - a kind of step
    CREATE_CONFIG = "create_config"
    REMOVE_SECRET = "remove_secret"  # noqa: S105 - the same
    REMOVE_CONFIG = "remove_config"


AREAS = {
    StepKind.INSTALL: "runtime",
    StepKind.START: "runtime",
    StepKind.INIT: "nodes",
    StepKind.JOIN: "nodes",
    StepKind.LEAVE: "nodes",
    StepKind.UPDATE_NODE: "nodes",
    StepKind.REMOVE_NODE: "nodes",
    StepKind.CREATE_SERVICE: "services",
    StepKind.UPDATE_SERVICE: "services",
    StepKind.REMOVE_SERVICE: "services",
    StepKind.CREATE_NETWORK: "services",
    StepKind.CREATE_SECRET: "services",
    StepKind.CREATE_CONFIG: "services",
    StepKind.REMOVE_SECRET: "services",
    StepKind.REMOVE_CONFIG: "services",
}
"""What ``--only`` calls each kind of step."""


class Gate(Enum):
    """What must hold just before a step, asked of the swarm again: ``quorum.gate_refusal``."""

    NONE = ""
    ADD_MANAGER = "add_manager"
    REMOVE_MANAGER = "remove_manager"
    RESTART_MANAGER = "restart_manager"


class Change(msgspec.Struct, frozen=True):
    """One thing that a step changes; ``old`` or ``new`` is None where there is none."""

    what: str
    old: str | None
    new: str | None


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing to do. Steps that don't wait for each other may run at the same time."""

    id: str
    """``kind:target``, with ``:role`` for a promotion or demotion; the same in every plan."""
    kind: StepKind
    target: str
    """A host's name; for the kinds of ``services`` the name of the service, secret and so on."""
    reason: str
    """One short clause for people."""
    proof: str
    """What is seen when it is done, for people and logs."""
    precondition: str = ""
    """What must hold when its turn comes, for people; checked by the step itself."""
    changes: tuple[Change, ...] = ()
    after: tuple[str, ...] = ()
    """Steps that must have succeeded."""
    follows: tuple[str, ...] = ()
    """Steps that must have ended, well or not."""
    gate: Gate = Gate.NONE
    node_id: str = ""
    """The node in question; empty: the one that then runs on the target."""
    role: Role | None = None
    """For join, and for the update that promotes or demotes."""
    availability: Availability | None = None
    labels: dict[str, str | None] = {}
    """Node labels to set; None takes a label away."""
    service_id: str = ""
    """Of the service, or of the secret or config that is removed."""
    version: int | None = None
    """``Version.Index`` that the service was seen with."""
    service: ServiceSpec | None = None
    """The whole spec to send. Secrets and configs have names, no IDs."""
    digest: str = ""
    """Of what is made where the step itself doesn't hold it: a network, config or secret."""
    destructive: bool = False
    """Takes something away that a person is asked about first."""

    @property
    def area(self) -> str:
        """What ``--only`` calls it."""
        return AREAS[self.kind]

    @property
    def on_service(self) -> bool:
        """Its target is no host but something that the swarm runs."""
        return self.area not in {"runtime", "nodes"}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that has to be done, in an order in which it may be done one after the other."""

    steps: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = ()
    """Said once; they stop nothing."""
    refusals: tuple[str, ...] = ()
    """Why nothing may be done at all; then there are no steps. Exit 1."""
    problems: dict[str, str] = {}
    """Host → why it is left out, or not made what it should be; the others go on. Exit not 0."""
    hooks: tuple[str, ...] = ()
    """Commands that are run before and after the steps, and where, one a line."""
    again: bool = False
    """After these steps the swarm can be seen better: observe and plan once more."""

    @property
    def empty(self) -> bool:
        """Nothing has to be done."""
        return not self.steps
