"""A daemon that crashes leaves no dump of its memory; its tasks may."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import ctypes, subprocess, sys
from swarmops.runtime import node

ASK = "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"

async def run(*_):
    print("daemon", ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
    task = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True)
    print("task", task.stdout)

node._run = run
sys.exit(node.main())
"""


def test_the_daemon_is_not_dumped_and_what_it_starts_is_as_by_default():
    """As the kernel answers for each."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["daemon", "0", "task", "1"]
