"""The file that an unexpected error leaves behind: what ran, where, and the whole traceback.

Called by ``main`` alone. What was asked is in it, as in a run's log; environment variables and the
words of commands are not: they hold secrets.
"""

from __future__ import annotations

import platform
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path

from swarmops import __version__
from swarmops.fleet.paths import state_dir


def write_crash(error: Exception, asked: str) -> Path:
    """Write the file; where the user's state folder can't be written, in the temporary one."""
    now = datetime.now(UTC)
    text = "\n".join(
        [
            f"swarmops {__version__}, Python {platform.python_version()}, {platform.platform()}",
            f"{now.isoformat()}  {asked}",
            "",
            *traceback.format_exception(error),
        ]
    )
    name = f"error-{now:%Y%m%dT%H%M%S}-"
    logs = state_dir() / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        return _write(logs, name, text)
    except OSError:
        return _write(Path(tempfile.gettempdir()), name, text)


def _write(folder: Path, name: str, text: str) -> Path:
    with tempfile.NamedTemporaryFile(
        "w", dir=folder, prefix=name, suffix=".log", delete=False
    ) as file:
        file.write(text)
    return Path(file.name)
