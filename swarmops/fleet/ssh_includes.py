"""``Include`` in ssh_config: the text with the files put in that it names, which paramiko ignores.

Called by ``connect`` before the text is parsed. As in ``ssh``: relative names begin in ``~/.ssh``
(in ``/etc/ssh`` for the system's file), globs are expanded in the order of the names, a file that
can't be read is passed over. What an included file begins ends with it. Unlike ``ssh``, ``Host``
lines of a file that is included below a ``Host`` line count by themselves.
"""

from __future__ import annotations

import glob
import re
import shlex
from pathlib import Path

_DEPTH_MAX = 16
"""``ssh`` gives up there too."""
_KEYWORD = re.compile(r"\s*(?P<word>\w+)(?:\s*=\s*|\s+)(?P<rest>.*)")


def expanded(path: Path, folder: Path, within: tuple[Path, ...] = ()) -> str:
    """Return a file's text and that of all it includes; empty where it can't be read.

    ``within`` are the files around it, none of which is read once more.
    """
    if path in within:
        return ""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    block = "Host *"
    result: list[str] = []
    for line in lines:
        found = _KEYWORD.fullmatch(line)
        word = found["word"].lower() if found else ""
        if word in {"host", "match"}:
            block = line
        if found is None or word != "include":
            result.append(line)
        elif len(within) < _DEPTH_MAX:
            for name in _files(found["rest"], folder):
                result += [expanded(name, folder, (*within, path)), block]
    return "\n".join(result)


def _files(words: str, folder: Path) -> list[Path]:
    try:
        names = shlex.split(words, comments=True)
    except ValueError:
        return []
    paths = [folder / Path(name).expanduser() for name in names]
    return [Path(name) for path in paths for name in sorted(glob.glob(str(path)))]  # noqa: PTH207 - absolute
