"""What is said of an inventory's variable that begins with ``swarmops_`` and is none of ours.

Called by the reader of groups; pure.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from swarmops.fleet.nearest import did_you_mean

_PREFIX = "swarmops_"
_ELSEWHERE = {
    "managers": (
        "how many managers there are is the playbook's (swarm.managers), which hosts may be one is"
        " said by a group 'managers'"
    ),
    **{
        key: f"it is the playbook's (nodes.HOST.{key})"
        for key in ("role", "labels", "availability")
    },
}
"""What people look for here, and where it is said."""


def unknown_variable(name: str, known: Iterable[str]) -> str:
    """Return the sentence: the nearest one of ours, else where such a thing is said."""
    # The prefix is the same in all, and would make any of them look near.
    ours = [one.removeprefix(_PREFIX) for one in known]
    word = name.removeprefix(_PREFIX)
    near = difflib.get_close_matches(word, [*ours, *_ELSEWHERE], n=1)
    if near and near[0] in _ELSEWHERE:
        return f"unknown variable '{name}': {_ELSEWHERE[near[0]]}"
    if near:
        return f"unknown variable '{name}': did you mean '{_PREFIX}{near[0]}'?"
    return f"unknown variable '{name}': {did_you_mean('', (_PREFIX + one for one in ours))}"
