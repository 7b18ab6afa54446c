"""Where the operator's side keeps its own files: state and logs, per user, by the XDG rules.

Called by the fleet and the CLI. It only names places; who writes makes the folder.
"""

from __future__ import annotations

import os
from pathlib import Path


def state_dir() -> Path:
    """Return ``$XDG_STATE_HOME/swarmops``, ``~/.local/state/swarmops`` where that is not set."""
    base = os.environ.get("XDG_STATE_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    return root / "swarmops"
