"""``python -m swarmops.runtime``: run one node until SIGTERM.

Started by systemd, or by ``swarmops.supervisor``. Prints one sentence and exits 1 if it can't
start.
"""

from __future__ import annotations

from swarmops.runtime import lean

if __name__ == "__main__":
    with lean.imports():
        from swarmops.runtime.node import main
    raise SystemExit(main())
