"""Threads that decode into the same types at once: a process that hasn't prepared for it dies."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from swarmops.fleet.pool import run_on
from swarmops.model import resolved

THREADS = """
import sys, threading
import msgspec
from swarmops.model.resolved import resolve_types
from swarmops.model.service import Service

sys.setswitchinterval(1e-6)
resolve_types()
text = b'{"Spec":{"Name":"a","TaskTemplate":{"ContainerSpec":{"Image":"x"}},"Mode":{"Global":{}}}}'
together = threading.Barrier(8)

def decode():
    together.wait()
    msgspec.json.decode(text, type=Service)

threads = [threading.Thread(target=decode) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


@pytest.mark.parametrize("_run", range(3))
def test_threads_may_meet_a_type_at_once(_run: int):
    """Without the call a run of this dies of a segmentation fault, 29 of 30 times."""
    assert subprocess.run([sys.executable, "-c", THREADS], check=False).returncode == 0


def test_whoever_works_on_many_hosts_has_looked_types_up():
    """What was defined since the last time, too."""

    class Late(msgspec.Struct):
        """Not known before."""

    run_on(["a"], lambda host: host, name=lambda host: host)
    assert Late in resolved._known
