"""The checks bite: each correction that the simulation can't show, taken out, fails its test."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import inspect
import logging
from typing import Any
from unittest import mock

import pytest

from swarmops.raft.elections import _SyncObj
from swarmops.raft.run import Run
from tests.unit.raft.mutations import TABLE, Mutation

_BAD_STAND_IN = (TypeError, AttributeError, NameError)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
@pytest.mark.parametrize("mutation", TABLE, ids=lambda mutation: mutation.name)
def test_the_unit_test_notices(mutation: Mutation, request: pytest.FixtureRequest):
    """Without the correction, the test that shows it fails."""
    test = mutation.caught_by
    wanted = inspect.signature(test).parameters.keys() - mutation.arguments.keys()
    fixtures = {name: request.getfixturevalue(name) for name in sorted(wanted)}
    logging.disable(logging.CRITICAL)
    noticed: BaseException | None = None
    given_up: list[Exception] = []
    fail = Run._fail

    def note(run: Any, error: Exception) -> None:
        given_up.append(error)
        fail(run, error)

    try:
        with mock.patch.object(Run, "_fail", note), mutation.patch():
            outcome = test(**fixtures, **mutation.arguments)
            if inspect.iscoroutine(outcome):
                asyncio.run(outcome)
    except (Exception, pytest.fail.Exception) as failure:  # noqa: BLE001 - however it fails
        noticed = failure
    finally:
        logging.disable(logging.NOTSET)
    assert noticed is not None, f"nobody noticed: {mutation.name}"
    # Raft turns most errors into a member that gives up: those count, too.
    bad = [error for error in (noticed, *given_up) if isinstance(error, _BAD_STAND_IN)]
    assert not bad, f"the test did not get to its point: {bad!r}"
    print(f"{mutation.name}: {noticed!r:.150}")  # noqa: T201 - for those who run pytest -s
    # What the failed test left open is warned about where it is collected: here, not in another.
    noticed = None
    bad.clear()
    given_up.clear()
    gc.collect()


def _misfit() -> None:
    """Take no argument where ``self`` comes."""


def test_a_broken_stand_in_passes_for_no_fault_that_was_noticed(request: pytest.FixtureRequest):
    """One that raft turns into a member that gives up, as it does with every error."""
    found = next(m for m in TABLE if m.name == "what is committed is truncated")
    broken = dataclasses.replace(
        found, patch=lambda: mock.patch.object(_SyncObj, "_stand_for_election", _misfit)
    )
    with pytest.raises(AssertionError, match=r"did not get to its point: .*TypeError"):
        test_the_unit_test_notices(broken, request)
