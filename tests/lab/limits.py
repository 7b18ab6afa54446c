"""The one kernel limit that a lab outgrows: inotify instances.

All hosts' root is this machine's root, and each systemd needs half a dozen instances of the 128
that Linux grants a user: from some twenty hosts on, the next one dies at boot. Raised while a
lab's daemon runs, put back when it stops.
"""

from pathlib import Path

LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
WANTED = 4096


def raise_limits(remembered: Path) -> None:
    """Raise the limit if it is lower, remembering in a file what it was."""
    before = int(LIMIT.read_text())
    if before < WANTED:
        remembered.write_text(str(before))
        LIMIT.write_text(str(WANTED))


def restore_limits(remembered: Path) -> None:
    """Put the limit back, unless somebody else has changed it since."""
    if remembered.exists():
        if int(LIMIT.read_text()) == WANTED:
            LIMIT.write_text(remembered.read_text())
        remembered.unlink()
