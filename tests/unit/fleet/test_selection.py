"""A part of a plan: which steps are in it, which are left out with them, and batches of hosts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from swarmops.errors import InputError
from swarmops.fleet.groups import Group, Groups
from swarmops.fleet.inventory import build_inventory
from swarmops.fleet.observation import HOST_LABEL
from swarmops.fleet.selection import (
    Selection,
    Wanted,
    batch_size,
    read_selection,
    select,
    spared,
)
from swarmops.fleet.steps import Plan, Step, StepKind
from swarmops.model.node import Availability, Role

HOSTS = ["a", "b", "c", "d", "e"]


def step(text: str, *after: str, **more: Any) -> Step:
    """Make a step from its ID."""
    kind, target, *_ = text.split(":")
    return Step(
        id=text, kind=StepKind(kind), target=target, reason="", proof="", after=after, **more
    )


FORM = (
    step("install:a"),
    step("install:b"),
    step("init:a", "install:a"),
    step("join:b", "install:b", "init:a"),
    step("update_node:b", "join:b"),
    step("create_service:web", "init:a", follows=("join:b", "update_node:b")),
)
GROWN = (
    step("install:b"),
    step("join:b", "install:b"),
    step("update_node:c"),
    step("update_service:web", follows=("join:b",)),
)

ROLLING = (
    step("install:a"),
    step("install:b"),
    step("start:a", "install:a"),
    step("start:b", "install:b", "start:a"),
)


@pytest.mark.parametrize(
    ("steps", "limit", "only", "left", "problems"),
    [
        (ROLLING, "b", None, ["install:b", "start:b"], set()),
        (FORM, None, None, [one.id for one in FORM], set()),
        (GROWN, "b", None, ["install:b", "join:b"], set()),
        (GROWN, "c", None, ["update_node:c"], set()),
        (GROWN, "c", "nodes,services", ["update_node:c", "update_service:web"], set()),
        (GROWN, None, "runtime", ["install:b"], set()),
        (GROWN, None, "services", ["update_service:web"], set()),
        (GROWN, None, "nodes", ["update_node:c"], {"b"}),
        (FORM, "b", None, ["install:b"], {"b"}),
        (FORM, None, "services", [], {"service web"}),
    ],
)
def test_selection(
    steps: tuple[Step, ...],
    limit: str | None,
    only: str | None,
    left: list[str],
    problems: set[str],
) -> None:
    """What is wanted stays in its order; what needs something left out is told and left out too."""
    wanted = Wanted(limit=limit, only=only)
    chosen = select(Plan(steps=steps), read_selection(inventory(), wanted))
    assert [one.id for one in chosen.steps] == left
    assert set(chosen.problems) == problems
    known = {one.id for one in chosen.steps}
    assert all({*one.after, *one.follows} <= known for one in chosen.steps)


def turns(steps: str, wait: str) -> tuple[Step, ...]:
    """Make steps of which each waits for the one before it."""
    made: list[Step] = []
    for text in steps.split():
        waits = {wait: tuple(one.id for one in made[-1:])}
        after = waits.pop("after", ())
        made.append(step(text, *after, **waits))
    return tuple(made)


@pytest.mark.parametrize(
    ("steps", "wait", "limit"),
    [
        ("start:b start:c start:a", "after", "a:b"),
        ("start:b start:c start:d start:e start:a", "after", "b:d"),
        ("start:b start:c start:d start:e start:a", "after", "b:a"),
        ("update_node:b:role update_node:c:role update_node:d:role", "follows", "b:d"),
        ("join:b join:c join:d", "follows", "b:d"),
    ],
)
def test_managers_keep_their_turns_when_the_middle_is_left_out(steps: str, wait: str, limit: str):
    """Two that no longer waited for each other would go at once, and a quorum with them."""
    plan = Plan(steps=turns(steps, wait))
    first, second = select(plan, read_selection(inventory(), Wanted(limit=limit))).steps
    assert {"after": second.after, "follows": second.follows}[wait] == (first.id,)


def test_what_is_spared_hands_on_what_it_waited_for():
    """A join that followed a demotion nobody allowed follows the join before that."""
    steps = turns("join:b update_node:c:role join:d", "follows")
    asked = msgspec.structs.replace(steps[1], destructive=True)
    kept, _ = spared((steps[0], asked, steps[2]))
    assert [(one.id, one.follows) for one in kept] == [("join:b", ()), ("join:d", ("join:b",))]


def inventory() -> Any:
    """Return an inventory of five hosts."""
    groups = Groups(
        groups={"all": Group(name="all", hosts=HOSTS)}, host_vars={name: {} for name in HOSTS}
    )
    return build_inventory("inv.yml", groups)


def test_problems_of_others() -> None:
    """A host outside of --limit may be dead: nothing is said of it."""
    plan = Plan(problems={"a": "dead", "b": "dead", "service web": "odd"})
    assert set(select(plan, Selection(hosts=frozenset("b"))).problems) == {"b"}


@pytest.mark.parametrize(
    ("text", "hosts", "size"),
    [("2", 5, 2), ("50%", 5, 2), ("10%", 5, 1), ("100%", 7, 7), ("9", 5, 9), ("30%", 10, 3)],
)
def test_batch_size(text: str, hosts: int, size: int) -> None:
    """A share is rounded down, to one at least."""
    assert batch_size(text, hosts) == size


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(serial="0"),
        Wanted(serial="x"),
        Wanted(serial="5%5"),
        Wanted(only="node"),
        Wanted(only=","),
        Wanted(limit="nobody"),
    ],
)
def test_wrong_words(wanted: Wanted) -> None:
    """Nonsense is one sentence."""
    with pytest.raises(InputError):
        read_selection(inventory(), wanted)


def test_batches() -> None:
    """Every batch of hosts waits until the one before it has succeeded, hosts' own order kept."""
    steps = [step(f"{kind}:{host}") for kind in ("install",) for host in HOSTS]
    steps += [step(f"start:{host}", f"install:{host}") for host in HOSTS]
    chosen = select(Plan(steps=tuple(steps)), Selection(serial=2))
    place = {one.id: index for index, one in enumerate(chosen.steps)}
    needs = {one.id: set(one.after) for one in chosen.steps}
    assert needs["install:a"] == set()
    assert needs["install:c"] == {"install:a", "install:b", "start:a", "start:b"}
    assert {"start:c", "start:d"} <= needs["start:e"]
    assert all(place[one] < place[name] for name, after in needs.items() for one in after)


def test_drains_and_roles_come_in_batches_too() -> None:
    """What a node is and does is work on its host; that it is told its name is not."""
    drain = {"availability": Availability.DRAIN}
    steps = (
        step("update_node:a", **drain),
        step("update_node:b", labels={HOST_LABEL: "b"}),
        step("update_node:c", **drain),
        step("update_node:d", role=Role.MANAGER),
    )
    chosen = select(Plan(steps=steps), Selection(serial=1)).steps
    assert {one.id: one.after for one in chosen} == {
        "update_node:a": (),
        "update_node:b": (),
        "update_node:c": ("update_node:a",),
        "update_node:d": ("update_node:c",),
    }


def test_what_takes_away_is_spared_with_what_needs_it() -> None:
    """The rest is done: what only comes after it, and what needs none of it."""
    steps = (
        step("update_node:a", destructive=True),
        step("remove_node:a", "update_node:a"),
        step("join:b", follows=("update_node:a",)),
        step("remove_service:x", destructive=True),
        step("remove_secret:k", "join:b", "remove_service:x"),
        step("create_service:web", "join:b"),
    )
    kept, left = spared(steps)
    assert [one.id for one in kept] == ["join:b", "create_service:web"]
    assert [one.id for one in left] == [
        "update_node:a",
        "remove_node:a",
        "remove_service:x",
        "remove_secret:k",
    ]
    assert kept[0].follows == ()
    chosen = select(Plan(steps=steps), Selection(spare=True))
    assert chosen.steps == kept
    assert chosen.problems == {}


def test_batches_without_circles() -> None:
    """Where the plan's own order contradicts the batches, the plan's order holds."""
    steps = (step("start:a", "start:b"), step("start:b"), step("join:a", "start:a"))
    chosen = select(Plan(steps=(steps[1], steps[0], steps[2])), Selection(serial=1))
    assert {one.id for one in chosen.steps} == {"start:a", "start:b", "join:a"}
    form = select(Plan(steps=FORM), Selection(serial=1))
    assert len(form.steps) == len(FORM)
