"""The checks bite: each correction that the simulation can't show, taken out, fails its test."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging

import pytest

from tests.unit.raft.mutations import TABLE, Mutation


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mutation", TABLE, ids=lambda mutation: mutation.name)
def test_the_unit_test_notices(mutation: Mutation, request: pytest.FixtureRequest):
    """Without the correction, the test that shows it fails."""
    test = mutation.caught_by
    wanted = inspect.signature(test).parameters.keys() - mutation.arguments.keys()
    fixtures = {name: request.getfixturevalue(name) for name in sorted(wanted)}
    logging.disable(logging.CRITICAL)
    noticed: BaseException | None = None
    try:
        with mutation.patch():
            outcome = test(**fixtures, **mutation.arguments)
            if inspect.iscoroutine(outcome):
                asyncio.run(outcome)
    except (Exception, pytest.fail.Exception) as failure:  # noqa: BLE001 - however it fails
        noticed = failure
    finally:
        logging.disable(logging.NOTSET)
    assert noticed is not None, f"nobody noticed: {mutation.name}"
    bad_stand_in = isinstance(noticed, TypeError | AttributeError | NameError)
    assert not bad_stand_in, f"the test did not get to its point: {noticed!r}"
    print(f"{mutation.name}: {noticed!r:.150}")  # noqa: T201 - for those who run pytest -s
    # What the failed test left open is warned about where it is collected: here, not in another.
    noticed = None
    gc.collect()
