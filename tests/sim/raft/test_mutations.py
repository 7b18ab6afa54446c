"""The checks bite: each correction of raft, taken out, is noticed by its seed or story."""

from __future__ import annotations

from unittest import mock

import pytest

from swarmops.raft.elections import _SyncObj as _E
from swarmops.raft.run import Run
from tests.sim.raft import stories
from tests.sim.raft.mutations import TABLE, Mutation, noticed, notices


@pytest.mark.slow
@pytest.mark.parametrize("mutation", TABLE, ids=lambda mutation: mutation.name)
def test_the_simulation_notices(mutation: Mutation):
    """Without the correction, the fault that it prevents is seen."""
    assert noticed(mutation)[0], f"nobody noticed: {mutation.name}"


def _misfit() -> None:
    """Take no argument where ``self`` comes."""


def _count_none(_self: object) -> None:
    """Never get a majority."""


def test_a_broken_stand_in_passes_for_no_fault_that_was_noticed():
    """One that raft turns into a member that gives up, as it does with every error."""
    found = next(m for m in TABLE if m.name == "strangers are never heard")
    broken = found._replace(patch=lambda: mock.patch.object(Run, "_tick", _misfit))
    with pytest.raises(RuntimeError, match=r"broken: .*TypeError"):
        notices(broken, stories.an_absent_joiner_stalls_nobody)


def test_another_fault_than_the_correction_s_is_not_noticed_as_its():
    """The members of a group that never elects anybody show nothing about strangers."""
    found = next(m for m in TABLE if m.name == "strangers are never heard")
    other = found._replace(patch=lambda: mock.patch.object(_E, "_count_votes", _count_none))
    assert notices(other, stories.an_absent_joiner_stalls_nobody) == ""
