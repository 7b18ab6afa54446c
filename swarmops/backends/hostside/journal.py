"""Print the newest lines of the daemon's log: from systemd's journal, or from the log file.

Sent by ``swarmops logs``. A cursor says where the next call goes on: systemd's own, or the file's
inode and offset.
"""

from __future__ import annotations

import os
import subprocess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

_PART_BYTES_MAX = 4 << 20


def _from_journal(unit: str, lines: int, cursor: str) -> dict[str, Any]:
    argv = ["journalctl", "-q", "-o", "short-iso", "--no-pager", "--no-hostname", "--show-cursor"]
    argv += ["-u", unit]
    argv += ["--after-cursor", cursor] if cursor else ["-n", str(lines)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, errors="replace")
    if done.returncode != 0:
        return {"error": f"journalctl: {done.stderr.strip() or done.returncode}"}
    text, found, after = done.stdout.rpartition("-- cursor: ")
    return {"text": text, "cursor": after.strip()} if found else {"text": after, "cursor": cursor}


def _from_file(path: str, lines: int, cursor: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib costs milliseconds on a host
            stat = os.fstat(file.fileno())
            inode, _, offset = cursor.partition(":")
            if cursor and inode == str(stat.st_ino) and int(offset) <= stat.st_size:
                file.seek(int(offset))
                data = file.read(_PART_BYTES_MAX)
            else:  # the first time, or the file was rotated
                file.seek(max(0, stat.st_size - _PART_BYTES_MAX))
                data = b"".join(file.read().splitlines(keepends=True)[-lines:])
            return {
                "text": data.decode(errors="replace"),
                "cursor": f"{stat.st_ino}:{file.tell()}",
            }
    except FileNotFoundError:
        return {"error": f"there is no log {path}: the runtime never ran there"}


def main(args: dict[str, Any], _payload: BinaryIO) -> dict[str, Any]:
    """``args``: unit or '', path, lines (0 for none), cursor ('' at first)."""
    if args["unit"] and os.path.isdir("/run/systemd/system"):  # noqa: PTH112 - as above
        return _from_journal(args["unit"], args["lines"], args["cursor"])
    return _from_file(args["path"], args["lines"], args["cursor"])
