"""What of a plan may be shown: not the values of environments, nor anything made from a secret.

Called by what prints a plan as text or JSON, which ends up in the logs of pipelines; pure. The file
of ``plan --out`` is its owner's alone and holds the whole plan.
"""

from __future__ import annotations

from msgspec.structs import replace

from swarmops.fleet.spec_diff import ENVIRONMENT
from swarmops.fleet.steps import Change, Plan, Step, StepKind
from swarmops.model import defaults
from swarmops.model.base import given
from swarmops.model.service import ServiceSpec

HIDDEN = "(hidden)"
_HOLD_ONE = ("ContainerSpec", "TaskTemplate")
"""Changes whose value is a whole spec."""


def shown(plan: Plan, *, environments: bool = False) -> Plan:
    """Return the plan as it may be shown; with ``environments`` their values are in it."""
    return replace(plan, steps=tuple(_step(step, environments) for step in plan.steps))


def _step(step: Step, environments: bool) -> Step:  # noqa: FBT001 - passed on
    if step.kind is StepKind.CREATE_SECRET:
        step = replace(step, digest="")
    if environments:
        return step
    changes = tuple(_hidden(change) for change in step.changes)
    service = _without_values(step.service) if step.service is not None else None
    return replace(step, changes=changes, service=service)


def _hidden(change: Change) -> Change:
    if not change.what.startswith(ENVIRONMENT) and change.what not in _HOLD_ONE:
        return change
    old, new = (None if value is None else HIDDEN for value in (change.old, change.new))
    return Change(change.what, old, new)


def _without_values(spec: ServiceSpec) -> ServiceSpec:
    task = defaults.task_spec(spec)
    container = defaults.container_spec(task)
    entries = given(container.env, None)
    if not entries:
        return spec
    names = [
        f"{name}={HIDDEN}" if equals else name
        for name, equals, _ in (entry.partition("=") for entry in entries)
    ]
    container = replace(container, env=names)
    return replace(spec, task_template=replace(task, container_spec=container))
