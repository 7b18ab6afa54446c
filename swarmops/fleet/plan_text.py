"""A plan for people, as a diff, and for programs, as JSON.

Called by the plan and apply commands; pure. ``+`` makes something, ``~`` changes it, ``-`` takes it
away, ``!`` runs a hook. Long values are cut: the JSON has them whole. What must not be shown, as
values of environments, is taken out before by ``plan_shown``.
"""

from __future__ import annotations

import msgspec

from swarmops.fleet.steps import Change, Plan, Step, StepKind
from swarmops.model.node import Role

_SIGNS = {
    StepKind.INSTALL: "+",
    StepKind.START: "+",
    StepKind.INIT: "+",
    StepKind.JOIN: "+",
    StepKind.LEAVE: "-",
    StepKind.UPDATE_NODE: "~",
    StepKind.REMOVE_NODE: "-",
    StepKind.CREATE_SERVICE: "+",
    StepKind.UPDATE_SERVICE: "~",
    StepKind.REMOVE_SERVICE: "-",
    StepKind.CREATE_NETWORK: "+",
    StepKind.CREATE_SECRET: "+",
    StepKind.CREATE_CONFIG: "+",
    StepKind.REMOVE_SECRET: "-",
    StepKind.REMOVE_CONFIG: "-",
}
_VERBS = {
    StepKind.INSTALL: "install",
    StepKind.START: "start",
    StepKind.INIT: "init",
    StepKind.JOIN: "join",
    StepKind.LEAVE: "leave",
    StepKind.UPDATE_NODE: "node",
    StepKind.REMOVE_NODE: "forget",
    StepKind.CREATE_SERVICE: "service",
    StepKind.UPDATE_SERVICE: "service",
    StepKind.REMOVE_SERVICE: "service",
    StepKind.CREATE_NETWORK: "network",
    StepKind.CREATE_SECRET: "secret",
    StepKind.CREATE_CONFIG: "config",
    StepKind.REMOVE_SECRET: "secret",
    StepKind.REMOVE_CONFIG: "config",
}
_SAID_BY_ITS_LINE = {
    StepKind.JOIN: "role",
    StepKind.REMOVE_NODE: "node",
    StepKind.CREATE_NETWORK: "network",
    StepKind.CREATE_SECRET: "secret",
    StepKind.CREATE_CONFIG: "config",
    StepKind.REMOVE_SECRET: "secret",
    StepKind.REMOVE_CONFIG: "config",
}
"""Changes that need no line of their own."""
_VALUE_CHARS_MAX = 60
_HIDDEN = ("label swarmops.", "Labels.swarmops.")
"""Our own bookkeeping: shown only when nothing else changes."""


def verb(step: Step) -> str:
    """Return a step's verb in one word: install, join, promote, demote, service and the like."""
    if step.kind is StepKind.UPDATE_NODE and step.role is not None:
        return "promote" if step.role is Role.MANAGER else "demote"
    return _VERBS[step.kind]


def step_line(step: Step) -> str:
    """Return a step in one line, without its changes: ``+ join     node2  as a manager``."""
    what = step.reason
    if step.kind is StepKind.JOIN and step.role is not None:
        what = f"as a {step.role.value}: {step.reason}"
    return f"{_SIGNS[step.kind]} {verb(step):<8} {step.target}: {what}"


def plan_text(plan: Plan) -> str:
    """Return the steps with what they change, and a count; empty when the plan is refused.

    Warnings, refusals and problems are the caller's to say: they belong to the errors' stream.
    """
    if plan.refusals:
        return ""
    lines = []
    for step in plan.steps:
        lines.append(step_line(step))
        lines += [f"    {_change(change)}" for change in shown_changes(step)]
    if plan.steps:
        lines += [f"! hook     {line}" for line in plan.hooks]
    if plan.again:
        lines.append("… then look again: stopped hosts may be members of the swarm")
    lines.append(_count(plan))
    return "\n".join(lines)


def plan_json(plan: Plan) -> bytes:
    """Return the plan as JSON; ``msgspec.json.decode(text, type=Plan)`` reads it back."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=2)


def shown_changes(step: Step) -> list[Change]:
    """Return the changes that a person wants to see, without what the step's line says."""
    said = _SAID_BY_ITS_LINE.get(step.kind)
    return [c for c in step.changes if c.what != said and not c.what.startswith(_HIDDEN)]


def _change(change: Change) -> str:
    if change.old is None:
        return f"+ {change.what}: {_cut(change.new)}"
    if change.new is None:
        return f"- {change.what}: {_cut(change.old)}"
    if change.old == change.new:  # the values are hidden
        return f"~ {change.what}: {_cut(change.new)}"
    return f"~ {change.what}: {_cut(change.old)} → {_cut(change.new)}"


def _cut(text: str | None) -> str:
    text = " ".join((text or "").split())
    return text if len(text) <= _VALUE_CHARS_MAX else text[: _VALUE_CHARS_MAX - 1] + "…"


def _count(plan: Plan) -> str:
    if plan.empty:
        return "Nothing to do." if not plan.problems else "Nothing that can be done now."
    signs = [_SIGNS[step.kind] for step in plan.steps]
    words = {"+": "to add", "~": "to change", "-": "to remove"}
    parts = [f"{signs.count(sign)} {word}" for sign, word in words.items() if sign in signs]
    return f"Plan: {', '.join(parts)}."
