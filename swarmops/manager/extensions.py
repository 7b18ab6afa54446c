"""What a service's labels ask for beyond Docker: ``swarmops.*``, read in one place.

Pure. The control loops read with ``read``, which takes what is malformed for absent, since a label
may be older than its meaning; ``check`` is for the API's border, and refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NoReturn, TypeVar

import msgspec

from swarmops.errors import InputError
from swarmops.manager import constraints
from swarmops.manager.constraints import Constraint
from swarmops.manager.schedules import Schedule
from swarmops.model.backoff import BACKOFF, BACKOFF_MAX, BACKOFF_MAX_S, factor, seconds
from swarmops.model.base import given
from swarmops.model.defaults import mode_name
from swarmops.model.service import ServiceSpec

PROGRESS_DEADLINE = "swarmops.update.progress-deadline"
REBALANCE = "swarmops.rebalance"
AFFINITY = "swarmops.affinity"
ANTI_AFFINITY = "swarmops.anti-affinity"
SCHEDULE = "swarmops.schedule"
OVERLAP = "swarmops.schedule.overlap"
STARTING_DEADLINE = "swarmops.schedule.starting-deadline"

PROGRESS_DEADLINE_S = 600.0
STARTING_DEADLINE_S = 3600.0
STARTING_DEADLINE_S_MIN = 1.0

_SHOWN_MAX = 100
"""Of a label that is refused; it may be megabytes."""

V = TypeVar("V")


class Extensions(msgspec.Struct, frozen=True):
    """What the labels say, or what holds without them. Times in seconds."""

    progress_deadline_s: float = PROGRESS_DEADLINE_S
    """0: an update may stand still for ever, as Docker's does."""
    backoff: float = 1.0
    """Each restart in a row waits so many times as long as the one before it."""
    backoff_max_s: float = BACKOFF_MAX_S
    rebalance: bool = False
    affinity: tuple[Constraint, ...] = ()
    """Services that must have a task on a node, or must not, by name."""
    schedule: Schedule | None = None
    overlap: str = "forbid"
    starting_deadline_s: float = STARTING_DEADLINE_S


_NONE = Extensions()
_ANYWHERE: tuple[Constraint, ...] = ()


def read(spec: ServiceSpec) -> Extensions:
    """Return what the service asks for; what is malformed counts for absent."""
    labels = given(spec.labels, {})
    if not any(name.startswith("swarmops.") for name in labels):
        return _NONE
    return _parse(tuple(sorted(labels.items())))


def check_service(spec: ServiceSpec) -> None:
    """Raise InputError, with the label's name, for what means nothing on this service."""
    labels = given(spec.labels, {})
    check(labels)
    if SCHEDULE in labels and not mode_name(spec).endswith("-job"):
        raise InputError(
            f"label {SCHEDULE}: only a job runs by a schedule: "
            "create the service in the mode replicated-job or global-job"
        )


def check(labels: Mapping[str, str]) -> None:
    """Raise InputError, with the label's name, for the first value that means nothing."""
    for name, parse in _READERS.items():
        if name in labels:
            parse(name, labels[name])


@lru_cache(maxsize=4096)
def _parse(items: tuple[tuple[str, str], ...]) -> Extensions:
    labels = dict(items)

    def value(name: str, parse: Callable[[str, str], V], default: V) -> V:
        try:
            return parse(name, labels[name]) if name in labels else default
        except InputError:
            return default

    return Extensions(
        progress_deadline_s=value(PROGRESS_DEADLINE, _seconds, PROGRESS_DEADLINE_S),
        backoff=value(BACKOFF, _factor, 1.0),
        backoff_max_s=value(BACKOFF_MAX, _seconds, BACKOFF_MAX_S),
        rebalance=value(REBALANCE, _flag, False),
        affinity=(
            *value(AFFINITY, _together, _ANYWHERE),
            *value(ANTI_AFFINITY, _apart, _ANYWHERE),
        ),
        schedule=value(SCHEDULE, _schedule, None),
        overlap=value(OVERLAP, _overlap, "forbid"),
        starting_deadline_s=value(STARTING_DEADLINE, _deadline, STARTING_DEADLINE_S),
    )


def _seconds(name: str, text: str) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        return _refuse(name, text, str(error))


def _deadline(name: str, text: str) -> float:
    found = _seconds(name, text)
    if found < STARTING_DEADLINE_S_MIN:
        return _refuse(name, text, "1s or more: no run begins on the dot, so none ever would")
    return found


def _factor(name: str, text: str) -> float:
    try:
        return factor(text)
    except ValueError as error:
        return _refuse(name, text, str(error))


def _flag(name: str, text: str) -> bool:
    known = {"true": True, "false": False}
    return known[text] if text in known else _refuse(name, text, "true or false")


def _overlap(name: str, text: str) -> str:
    known = ("forbid", "replace")
    return text if text in known else _refuse(name, text, "forbid or replace")


def _schedule(name: str, text: str) -> Schedule:
    try:
        return Schedule(text)
    except InputError as error:
        return _refuse(name, text, f"a cron expression like 30 4 * * * ({error})")


def _together(name: str, text: str) -> tuple[Constraint, ...]:
    return _services(name, text)


def _apart(name: str, text: str) -> tuple[Constraint, ...]:
    return tuple(Constraint(each.key, not each.equal, each.value) for each in _services(name, text))


def _services(name: str, text: str) -> tuple[Constraint, ...]:
    found = []
    for part in text.split(","):
        try:
            each = constraints.parse_one(part)
        except InputError:
            each = Constraint("", True, "")
        if each.key != "service":
            _refuse(name, text, "service==NAME or service!=NAME, several with commas between")
        found.append(each)
    return tuple(found)


def _refuse(name: str, text: str, wanted: str) -> NoReturn:
    shown = text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"
    raise InputError(f"label {name}: {shown!r} is not {wanted}")


_READERS: dict[str, Callable[[str, str], object]] = {
    PROGRESS_DEADLINE: _seconds,
    BACKOFF: _factor,
    BACKOFF_MAX: _seconds,
    REBALANCE: _flag,
    AFFINITY: _together,
    ANTI_AFFINITY: _apart,
    SCHEDULE: _schedule,
    OVERLAP: _overlap,
    STARTING_DEADLINE: _deadline,
}
