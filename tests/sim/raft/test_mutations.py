"""The checks bite: each correction of raft, taken out, is noticed by its seed or story."""

from __future__ import annotations

import pytest

from tests.sim.raft.mutations import TABLE, Mutation, noticed


@pytest.mark.parametrize("mutation", TABLE, ids=lambda mutation: mutation.name)
def test_the_simulation_notices(mutation: Mutation):
    """Without the correction, the fault that it prevents is seen."""
    assert noticed(mutation)[0], f"nobody noticed: {mutation.name}"
