"""Is a history of one register linearizable? Wing and Gong's search, with Lowe's memory.

As in porcupine: walk the history's calls and returns; take an operation that has been called as the
next to take effect, if the register then answers as it did; go back when an operation returned
before it could be placed. A (set of placed operations, value) that failed once is not tried again.
An operation whose outcome is unknown returns never: it may take effect at any time after its call,
which includes after everything else.
"""

from __future__ import annotations

from typing import NamedTuple

INFINITY = float("inf")
STEPS_MAX = 400_000


class Operation(NamedTuple):
    """One call on one register; times are the simulation's, ties are broken by the caller."""

    called: float
    returned: float
    """INFINITY when the outcome is not known."""
    answer: int | None
    """The value before; None when not known."""
    write: int | None = None
    """What it sets, None for a read."""
    expect: int | None = None
    """It sets only when this is the value, None: always."""


class Undecided(Exception):  # noqa: N818 - the outcome
    """The search took more steps than it may."""


class _Event:
    __slots__ = ("after", "before", "number", "ret")

    def __init__(self, number: int) -> None:
        self.number = number
        self.ret: _Event | None = None
        self.before: _Event | None = None
        self.after: _Event | None = None


def _step(operation: Operation, value: int) -> int | None:
    """Return the value after the operation, None when it would have answered otherwise."""
    if operation.answer is not None and operation.answer != value:
        return None
    if operation.write is None or operation.expect not in {None, value}:
        return value
    return operation.write


def _events(history: list[Operation]) -> _Event:
    """Link calls and returns in the order of time, returns first at the same time."""
    order: list[tuple[float, int, _Event]] = []
    for number, operation in enumerate(history):
        call, ret = _Event(number), _Event(number)
        call.ret = ret
        order += [(operation.called, 1, call), (operation.returned, 0, ret)]
    order.sort(key=lambda item: item[:2])
    head = last = _Event(-1)
    for _, _, event in order:
        last.after, event.before = event, last
        last = event
    return head


def _unlink(event: _Event) -> None:
    if event.before is not None:
        event.before.after = event.after
    if event.after is not None:
        event.after.before = event.before


def _relink(event: _Event) -> None:
    if event.before is not None:
        event.before.after = event
    if event.after is not None:
        event.after.before = event


def relevant(history: list[Operation]) -> list[Operation]:
    """Leave out writes of unknown outcome whose value nobody saw: they may come last of all."""
    seen = {operation.answer for operation in history}
    seen |= {operation.expect for operation in history if operation.answer is None}
    return [o for o in history if o.returned != INFINITY or o.write in seen]


def is_linearizable(history: list[Operation], initial: int) -> bool:
    """Say whether some order explains every answer; raises Undecided."""
    history = relevant(history)
    head = _events(history)
    value, placed, steps = initial, 0, 0
    tried: set[tuple[int, int]] = set()
    stack: list[tuple[_Event, int]] = []
    known = sum(1 << n for n, o in enumerate(history) if o.returned != INFINITY)
    event = head.after
    while placed & known != known:
        steps += 1
        if steps > STEPS_MAX:
            raise Undecided
        if event is not None and event.ret is not None:
            after = _step(history[event.number], value)
            state = (placed | 1 << event.number, -2 if after is None else after)
            if after is not None and state not in tried:
                tried.add(state)
                stack.append((event, value))
                placed, value = state[0], after
                _unlink(event)
                _unlink(event.ret)
                event = head.after
            else:
                event = event.after
            continue
        if not stack:
            return False
        event, value = stack.pop()
        placed ^= 1 << event.number
        assert event.ret is not None
        _relink(event.ret)
        _relink(event)
        event = event.after
    return True
