"""The checker itself: histories that are linearizable, and ones that are not."""

from __future__ import annotations

import pytest

from tests.sim.raft.linearizability import INFINITY, Operation, is_linearizable


def read(called: float, returned: float, answer: int) -> Operation:
    """A read."""
    return Operation(called, returned, answer)


def write(called: float, returned: float, value: int, before: int | None) -> Operation:
    """A write that answers with the value before."""
    return Operation(called, returned, before, value)


@pytest.mark.parametrize(
    ("holds", "history"),
    [
        pytest.param(True, [], id="nothing happened"),
        pytest.param(True, [write(1, 2, 5, -1), read(3, 4, 5)], id="a read after a write"),
        pytest.param(False, [write(1, 2, 5, -1), read(3, 4, -1)], id="a stale read"),
        pytest.param(True, [write(1, 4, 5, -1), read(2, 3, -1)], id="a read beside a write: old"),
        pytest.param(True, [write(1, 4, 5, -1), read(2, 3, 5)], id="a read beside a write: new"),
        pytest.param(
            False,
            [write(1, 6, 5, -1), read(2, 3, 5), read(4, 5, -1)],
            id="a value that was seen is unseen again",
        ),
        pytest.param(
            False, [write(1, 2, 5, -1), write(3, 4, 6, -1)], id="a write that misses the one before"
        ),
        pytest.param(
            True,
            [Operation(1, INFINITY, None, 5), read(2, 3, -1), read(9, 10, 5)],
            id="an unknown write took effect late",
        ),
        pytest.param(
            False,
            [Operation(4, INFINITY, None, 5), read(2, 3, 5)],
            id="an unknown write took effect before its call",
        ),
        pytest.param(
            True,
            [
                Operation(1, INFINITY, None, 5),
                Operation(2, INFINITY, None, 6, expect=5),
                read(3, 4, 6),
            ],
            id="an unknown write that only an unknown compare-and-set saw",
        ),
        pytest.param(
            False,
            [write(1, 2, 5, -1), Operation(3, 4, 5, 6, expect=7), read(5, 6, 6)],
            id="a compare-and-set that should have failed",
        ),
    ],
)
def test_the_checker_tells_what_can_be_from_what_cannot(
    holds: bool,  # noqa: FBT001 - a table
    history: list[Operation],
):
    """Each history, by whether any order explains it."""
    assert is_linearizable(history, -1) is holds
