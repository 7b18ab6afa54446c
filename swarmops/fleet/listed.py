"""Names as a sentence has them: ``a, b and c``, of many only the first.

Called by what tells of several hosts at once; pure.
"""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN_MAX = 5


def listed(names: Sequence[str]) -> str:
    """Return the names with commas and an ``and``; instead of too many, how many more there are."""
    if len(names) > _SHOWN_MAX:
        shown = _SHOWN_MAX - 2
        return f"{', '.join(names[:shown])} and {len(names) - shown} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
