"""The nearest right word for a wrong one, for "did you mean …?" at the end of an error.

Called by every reader of a user's file; a pure function.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_SHOWN_MAX = 12


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?``, or the list of what is known when nothing is near."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    if not names:
        return "nothing is known here"
    shown = ", ".join(names[:_SHOWN_MAX])
    return f"known are {shown}" + (" …" if len(names) > _SHOWN_MAX else "")
