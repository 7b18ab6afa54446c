"""What serving the API costs a worker."""

from __future__ import annotations

import subprocess
import sys


def test_a_worker_that_serves_the_api_never_loads_raft():
    """A worker's memory is for its tasks: neither Raft nor its engine is imported."""
    program = "import sys, swarmops.api; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "swarmops.api.services" in loaded
    assert not [name for name in loaded if name.startswith(("pysyncobj", "swarmops.raft"))]
