"""Plays a mutation: what should notice it first, then other seeds, and what they noticed."""

from __future__ import annotations

import re

from tests.sim.raft import stories
from tests.sim.raft.mutations.row import Mutation
from tests.sim.raft.stories import Story
from tests.sim.raft.world import Failure, simulate

_SEEDS_TRIED = 40
_STORY_SEEDS = (1, 5)
_BAD_STAND_IN = re.compile(r"\b(TypeError|AttributeError|NameError|ImportError)\b")


def noticed(mutation: Mutation) -> tuple[str, str]:
    """Play what should notice, other seeds after it; say what did, and what it noticed."""
    first = mutation.caught_by
    others = [s for s in range(_SEEDS_TRIED) if s != first] if isinstance(first, int) else []
    for catcher in (first, *others):
        if found := notices(mutation, catcher):
            return str(getattr(catcher, "__name__", catcher)), found
    return "", ""


def notices(mutation: Mutation, catcher: int | Story) -> str:
    """Play a seed, or a story, under the mutation; say what was noticed, or nothing.

    Raises RuntimeError for a stand-in that does not fit (any more) what it stands in for.
    """
    with mutation.patch():
        try:
            if isinstance(catcher, int):
                simulate(catcher)
            else:
                for seed in _STORY_SEEDS:
                    stories.tell(catcher, seed=seed)
        except Failure as failure:
            return _as_noticed(mutation, failure)
    return ""


def _as_noticed(mutation: Mutation, failure: Failure) -> str:
    what = f"{type(failure.cause).__name__}: {failure.cause}"
    # Raft turns most errors into a member that gives up, and logs them: they are in the trace.
    for line in (what, *failure.trace.lines()):
        if _BAD_STAND_IN.search(line):
            raise RuntimeError(f"the stand-in of {mutation.name!r} is broken: {line}")
    return what if re.search(mutation.noticed_as, what) else ""
