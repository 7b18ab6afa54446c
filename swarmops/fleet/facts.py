"""Observe one host: everything that a plan needs to know of it, in one round trip.

Called for all hosts at once by the fleet's observation. Changes nothing on the host.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from swarmops.backends import hostside
from swarmops.backends.base import Facts, Home, Place, Shell
from swarmops.errors import HostError

_WITHIN_S = 5.0
"""For all of a look but the socket's answers."""


def gather(shell: Shell, place: Place, home: Home, *, also: Sequence[str] = ()) -> Facts:
    """Return the facts of the host and of the node at ``place``. Raises HostError.

    ``also`` are lists to ask a manager for besides the usual ones: ``secrets`` and the like. Of
    ``home`` it needs how long the socket may take for each.
    """
    args = {
        "data_dir": place.data_dir,
        "socket": place.socket,
        "root_dir": place.root_dir,
        "unit": place.unit,
        "local": place.local,
        "lock_file": place.lock_file,
        "timeout_s": home.answers_within_s,
        "also": list(also),
    }
    asked = time.time()
    # What a node tells at length is told at once: two of its answers may keep us waiting, not all.
    within_s = _WITHIN_S + 2 * home.answers_within_s
    answer = hostside.call(shell, "facts", args, timeout_s=within_s)
    heard = time.time()
    began, ended = answer.pop("clock_began_s", asked), answer.pop("clock_ended_s", heard)
    answer["clock_offset_s"] = clock_offset_s(asked, began, ended, heard)
    try:
        return msgspec.convert(answer, Facts)
    except msgspec.ValidationError as error:
        raise HostError(shell.host, f"its facts are not as expected ({error})") from error


def clock_offset_s(asked: float, began: float, ended: float, heard: float) -> float:
    """Return how far the host's clock is off at least: of ``asked`` and ``heard`` by our clock.

    The host began after it was asked and ended before it was heard, by its own clock. How long the
    way took, with a handshake or a person who types a password, nobody knows: what may be due to
    that is not the clock's.
    """
    least, most = ended - heard, began - asked
    return max(0.0, least) or min(0.0, most)
