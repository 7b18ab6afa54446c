"""A plan reads as a diff."""

from __future__ import annotations

import msgspec

from swarmops.fleet.plan_shown import shown
from swarmops.fleet.plan_text import plan_json, plan_text
from swarmops.fleet.steps import Change, Plan, Step, StepKind
from swarmops.model.node import Role
from swarmops.model.service import ContainerSpec, ServiceSpec, TaskSpec


def step(kind: StepKind, target: str, **more: object) -> Step:
    """Return a step with what every step has."""
    fields = {"reason": "why", "proof": "seen"} | more
    return msgspec.convert(
        {"id": f"{kind.value}:{target}", "kind": kind.value, "target": target}
        | {key: msgspec.to_builtins(value) for key, value in fields.items()},
        Step,
    )


PLAN = Plan(
    warnings=("an even number",),
    problems={"h9": "connection refused"},
    steps=(
        step(StepKind.INSTALL, "h1", reason="nothing is installed"),
        step(
            StepKind.JOIN,
            "h1",
            role=Role.MANAGER,
            reason="it is in no swarm",
            changes=(Change("role", None, "manager"), Change("availability", None, "drain")),
        ),
        step(
            StepKind.UPDATE_NODE,
            "h2",
            role=Role.WORKER,
            changes=(Change("role", "manager", "worker"),),
        ),
        step(StepKind.REMOVE_NODE, "h3", changes=(Change("node", "id3", None),)),
        step(
            StepKind.UPDATE_SERVICE,
            "web",
            reason="it differs from the playbook",
            changes=(
                Change("Args", '["a"]', '["b"]'),
                Change("TTY", "true", None),
                Change("Args2", None, "x" * 100),
                Change("Env.TAG", "one", "two"),
                Change("Env.PASSWORD", None, "hunter2"),
                Change("Env.OLD", "hunter1", None),
                Change("Labels.swarmops.spec", "1", "2"),
            ),
            service=ServiceSpec(
                name="web",
                task_template=TaskSpec(
                    container_spec=ContainerSpec(env=["TAG=two", "PASSWORD=hunter2", "BARE"])
                ),
            ),
        ),
        step(StepKind.CREATE_SECRET, "key.v1", digest="abc"),
    ),
    hooks=("before, on this machine: true (at most 60 s)",),
)


def test_a_plan_reads_as_a_diff():
    """Every step has its sign, verb, target and reason, with what it changes under it."""
    assert plan_text(PLAN).splitlines() == [
        "+ install  h1: nothing is installed",
        "+ join     h1: as a manager: it is in no swarm",
        "    + availability: drain",
        "~ demote   h2: why",
        "    ~ role: manager → worker",
        "- forget   h3: why",
        "~ service  web: it differs from the playbook",
        '    ~ Args: ["a"] → ["b"]',
        "    - TTY: true",
        "    + Args2: " + "x" * 59 + "…",
        "    ~ Env.TAG: one → two",
        "    + Env.PASSWORD: hunter2",
        "    - Env.OLD: hunter1",
        "+ secret   key.v1: why",
        "! hook     before, on this machine: true (at most 60 s)",
        "Plan: 3 to add, 2 to change, 1 to remove.",
    ]


def test_values_of_environments_are_hidden():
    """The names are told and that values change, in text and JSON; no value, unless asked for."""
    told = shown(PLAN)
    lines = plan_text(told).splitlines()
    assert "    ~ Env.TAG: (hidden)" in lines
    assert "    + Env.PASSWORD: (hidden)" in lines
    assert "    - Env.OLD: (hidden)" in lines
    text = plan_json(told).decode()
    assert "hunter" not in text
    assert '"two"' not in text
    assert "TAG=(hidden)" in text
    assert '"BARE"' in text
    assert '"abc"' not in text
    asked = shown(PLAN, environments=True)
    assert asked.steps[:-1] == PLAN.steps[:-1]
    assert '"abc"' not in plan_json(asked).decode(), "what is made of a secret is never shown"


def test_nothing_to_do():
    """An empty plan says so, and doesn't if hosts are in trouble."""
    assert plan_text(Plan()) == "Nothing to do."
    assert plan_text(Plan(problems={"a": "b"})) == "Nothing that can be done now."
    assert plan_text(Plan(refusals=("no",))) == ""


def test_json_comes_back_as_it_was():
    """The JSON holds the whole plan."""
    assert msgspec.json.decode(plan_json(PLAN), type=Plan) == PLAN
