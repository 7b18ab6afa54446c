"""A part of a plan: some hosts, some kinds of steps, some hosts at a time.

Called by plan and apply with what ``--limit``, ``--only`` and ``--serial`` said; pure. A part is
safe where the whole plan is: what needs a step that is left out is left out with it, and told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from swarmops.errors import InputError
from swarmops.fleet.inventory import Inventory
from swarmops.fleet.nearest import did_you_mean
from swarmops.fleet.patterns import match_hosts
from swarmops.fleet.plan_nodes import only_names
from swarmops.fleet.steps import AREAS, Plan, Step, StepKind

_ON_HOSTS = {StepKind.INSTALL, StepKind.START, StepKind.INIT, StepKind.JOIN, StepKind.LEAVE}


def _batched(step: Step) -> bool:
    """Say whether a step is work on a host: on its runtime, or on what its node is and does."""
    return step.kind in _ON_HOSTS or (step.kind is StepKind.UPDATE_NODE and not only_names(step))


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--limit``, ``--only``, ``--serial`` and ``--replace-dead`` said."""

    limit: str | None = None
    only: str | None = None
    serial: str | None = None
    replace_dead: bool = False


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What of a plan is wanted; None: all of it. ``serial`` is how many hosts at a time."""

    hosts: frozenset[str] | None = None
    areas: frozenset[str] | None = None
    serial: int | None = None
    spare: bool = False
    """Leave out what takes something away: nobody is there to be asked."""

    def wants(self, step: Step) -> bool:
        """Say whether a step is in it. Services are no host's: ``--limit`` alone leaves them."""
        if self.areas is not None and step.area not in self.areas:
            return False
        if step.on_service:
            return self.hosts is None or self.areas is not None
        return self.hosts is None or step.target in self.hosts

    def wants_problem(self, of: str) -> bool:
        """Say whether a problem is about what is wanted; ``of`` is a host or ``service NAME``."""
        if of.startswith("service "):
            return self.wants_services
        return self.hosts is None or of in self.hosts

    @property
    def wants_services(self) -> bool:
        """The swarm's services are part of it."""
        if self.areas is not None:
            return "services" in self.areas
        return self.hosts is None


def read_selection(inventory: Inventory, wanted: Wanted) -> Selection:
    """Return the selection that these words mean. Raises InputError."""
    only, serial = wanted.only, wanted.serial
    hosts = None if wanted.limit is None else frozenset(match_hosts(wanted.limit, inventory))
    number = len(inventory.hosts) if hosts is None else len(hosts)
    return Selection(
        hosts=hosts,
        areas=None if only is None else _areas(only),
        serial=None if serial is None else batch_size(serial, number),
    )


def _areas(text: str) -> frozenset[str]:
    known = sorted(set(AREAS.values()))
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise InputError(f"--only {name}: {did_you_mean(name, known)}")
    if not names:
        raise InputError(f"--only names nothing: use {', '.join(known)}")
    return frozenset(names)


def batch_size(text: str, hosts: int) -> int:
    """Return how many hosts at a time ``2`` or ``25%`` are: at least one. Raises InputError."""
    number, percent, rest = text.partition("%")
    if not number.isascii() or not number.isdigit() or rest or int(number) < 1:
        raise InputError(f"--serial {text}: say how many hosts at a time, as in 2 or 25%")
    return max(1, hosts * int(number) // 100) if percent else int(number)


def select(plan: Plan, selection: Selection) -> Plan:
    """Return the part of the plan that is wanted, and can be done without the rest."""
    if selection == Selection():
        return plan
    kept: dict[str, Step] = {}
    left = _LeftOut()
    whole = {step.id: step for step in plan.steps}
    problems = {of: why for of, why in plan.problems.items() if selection.wants_problem(of)}
    for step in plan.steps:
        if not selection.wants(step):
            left.add(step)
            continue
        lost = [one for one in step.after if one not in kept and not _in_turn(whole[one], step)]
        if lost:
            of = f"service {step.target}" if step.on_service else step.target
            problems.setdefault(of, f"it needs '{lost[0]}', which is left out: choose that too")
            left.add(step)
        else:
            kept[step.id] = left.without(step)
    steps = tuple(kept.values())
    if selection.spare:
        steps, _ = spared(steps)
    if selection.serial is not None:
        steps = in_batches(steps, selection.serial)
    return msgspec.structs.replace(plan, steps=steps, problems=problems)


def spared(steps: Iterable[Step]) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Return the steps that take nothing away and need none that does, and the others."""
    kept: dict[str, Step] = {}
    left: dict[str, Step] = {}
    gone = _LeftOut()
    for step in steps:
        if step.destructive or any(earlier in left for earlier in step.after):
            left[step.id] = step
            gone.add(step)
        else:
            kept[step.id] = gone.without(step)
    return tuple(kept.values()), tuple(left.values())


class _LeftOut:
    """Steps that are left out; who waited for one waits for what that one waited for instead.

    So the two ends of a row of managers still have their turns one after the other when the middle
    is left out. Steps are given in the plan's order.
    """

    def __init__(self) -> None:
        self._after: dict[str, tuple[str, ...]] = {}
        self._all: dict[str, tuple[str, ...]] = {}

    def add(self, step: Step) -> None:
        """Leave a step out."""
        self._after[step.id] = _instead(step.after, self._after)
        self._all[step.id] = _instead((*step.after, *step.follows), self._all)

    def without(self, step: Step) -> Step:
        """Return a step that waits for none of those that are left out."""
        after = _instead(step.after, self._after)
        waits = _instead((*step.after, *step.follows), self._all)
        follows = tuple(one for one in waits if one not in after)
        return msgspec.structs.replace(step, after=after, follows=follows)


def _instead(waits: Iterable[str], handed_on: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for wait in waits for one in handed_on.get(wait, (wait,))))


def _in_turn(earlier: Step, step: Step) -> bool:
    """Say whether a step only takes its turn after another host's: it doesn't need that host."""
    return earlier.kind is step.kind is StepKind.START and earlier.target != step.target


def in_batches(steps: tuple[Step, ...], size: int) -> tuple[Step, ...]:
    """Let each batch of hosts wait until the one before it has succeeded.

    Hosts come in the order in which the plan begins to work on them. A wait that would make a
    circle, since the earlier batch needs something of the later one, is left out.
    """
    order = list(dict.fromkeys(step.target for step in steps if _batched(step)))
    batch = {host: index // size for index, host in enumerate(order)}
    own: dict[int, list[str]] = {}
    for step in steps:
        if _batched(step):
            own.setdefault(batch[step.target], []).append(step.id)
    needs = {step.id: {*step.after, *step.follows} for step in steps}
    waiting = []
    for step in steps:
        extra: list[str] = []
        if _batched(step):
            extra = [
                earlier
                for earlier in own.get(batch[step.target] - 1, ())
                if earlier not in needs[step.id] and not _needs(earlier, step.id, needs)
            ]
            needs[step.id] |= set(extra)
        waiting.append(msgspec.structs.replace(step, after=(*step.after, *extra)))
    return _in_order(waiting)


def _needs(step: str, other: str, needs: dict[str, set[str]]) -> bool:
    """Say whether a step waits for another, directly or not."""
    seen, todo = set[str](), [step]
    while todo:
        found = todo.pop()
        if found == other:
            return True
        if found not in seen:
            seen.add(found)
            todo += needs[found]
    return False


def _in_order(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Return the steps so that each comes after all it waits for."""
    left, placed = {step.id: step for step in steps}, dict[str, Step]()
    while left:
        step = next(s for s in left.values() if not {*s.after, *s.follows} & left.keys())
        placed[step.id] = left.pop(step.id)
    return tuple(placed.values())
