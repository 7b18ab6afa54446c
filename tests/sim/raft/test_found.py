"""What must come of single faults, and what the simulation found, as the shortest story of each.

Seeds change their meaning when the simulation grows; stories don't.
"""

from __future__ import annotations

import pytest

from tests.sim.raft import stories
from tests.sim.raft.__main__ import explain
from tests.sim.raft.stories import Story
from tests.sim.raft.world import Failure

STORIES = [
    stories.followers_come_and_go,
    stories.a_follower_loses_sight_of_the_leader_alone,
    stories.an_isolated_leader_steps_down,
    stories.a_leader_sleeps_through_its_lease,
    stories.a_leader_is_cut_off_while_it_hands_over,
    stories.a_deposed_leaders_tail_gives_way,
    stories.who_was_away_for_a_moment_gets_no_snapshot,
    stories.an_absent_joiner_stalls_nobody,
    stories.a_full_disk_costs_the_leader_its_office,
    stories.a_killed_run_left_unsynced_writes,
    stories.a_joiner_crashes_before_it_knows_anything,
    stories.a_member_was_away_while_the_group_changed,
    stories.a_joiner_was_away_while_all_others_were_replaced,
    stories.a_joiner_becomes_a_voter_under_load,
    stories.who_is_slower_than_the_snapshots_come_catches_up,
    stories.a_leader_whose_disk_hangs_hands_over,
    stories.an_old_snapshot_comes_again,
    stories.a_first_chunk_comes_again,
    stories.an_answer_of_a_former_run_comes_late,
]


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_the_story_ends_well(story: Story, seed: int):
    """Each promises what its docstring says, in worlds of several timings."""
    try:
        stories.tell(story, seed=seed, size=3 if seed < 2 else 5)
    except Failure as failure:
        name = f"test_the_story_ends_well[{story.__name__}-{seed}]"
        replay = f".venv/bin/pytest 'tests/sim/raft/test_found.py::{name}'"
        pytest.fail(explain(failure, replay=replay), pytrace=False)
