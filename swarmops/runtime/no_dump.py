"""No core dump of a daemon: its memory holds secrets and keys, and a disk keeps a dump.

Called once by ``node.main``. A limit on core files would be handed on to tasks, whose dumps are
their owners' to have, and isn't asked where dumps go to a program such as systemd-coredump.
"""

from __future__ import annotations

import ctypes

PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4


def never_dumped() -> None:
    """Have the kernel write no dump of this process; the programs that it starts begin afresh."""
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
