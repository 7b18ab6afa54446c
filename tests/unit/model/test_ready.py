"""A type that threads decode for the first time at once: the process lives."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, threading
import msgspec
from swarmops.model.base import ready
from swarmops.model.service import Service

sys.setswitchinterval(1e-9)
spec = {"TaskTemplate": {"ContainerSpec": {"Image": "x", "Args": ["a"]}}, "Name": "web"}
start = threading.Barrier(8)

def decode():
    start.wait()
    assert msgspec.convert({"ID": "a", "Spec": spec}, ready(Service)).spec.name == "web"
    done.append(True)

done = []
threads = [threading.Thread(target=decode) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(done) == 8
"""


def test_threads_may_decode_a_type_for_the_first_time_at_once():
    """Without ``ready`` msgspec reads a null pointer: each run ends with signal 11."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, b"")
