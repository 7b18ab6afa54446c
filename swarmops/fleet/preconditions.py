"""What must hold just before each step, said for people who review a plan.

Called by the planner; pure. The steps check it themselves (``actions``), at the last moment.
"""

from __future__ import annotations

import msgspec

from swarmops.fleet.steps import Gate, Step, StepKind

_OF_KIND = {
    StepKind.INSTALL: "the host can be reached and has room for it",
    StepKind.START: "the runtime is on the host",
    StepKind.INIT: "the host is in no swarm",
    StepKind.JOIN: "the host is in no swarm, and a manager answers",
    StepKind.LEAVE: "the swarm doesn't list its node",
    StepKind.UPDATE_NODE: "the swarm lists its node",
    StepKind.REMOVE_NODE: "the node is no manager",
    StepKind.CREATE_SERVICE: "no other service has that name",
    StepKind.UPDATE_SERVICE: "nobody has changed the service since version {version}",
    StepKind.REMOVE_SERVICE: "the playbook still hasn't the service",
    StepKind.CREATE_NETWORK: "no other network has that name",
    StepKind.CREATE_SECRET: "no other secret has that name",
    StepKind.CREATE_CONFIG: "no other config has that name",
    StepKind.REMOVE_SECRET: "no service and no running task uses it",
    StepKind.REMOVE_CONFIG: "no service and no running task uses it",
}
_OF_GATE = {
    Gate.NONE: "",
    Gate.ADD_MANAGER: "the managers that answer are a quorum also with one more",
    Gate.REMOVE_MANAGER: "the other managers answer, and are a quorum without it",
    Gate.RESTART_MANAGER: "all other managers answer",
}


def with_precondition(step: Step) -> Step:
    """Return the step with its precondition in words."""
    own = _OF_KIND.get(step.kind, "").format(version=step.version)
    text = "; ".join(part for part in (own, _OF_GATE[step.gate]) if part)
    return msgspec.structs.replace(step, precondition=text)
