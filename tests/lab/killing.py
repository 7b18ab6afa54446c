"""Runs `swarmops` and kills it with -9 in one step of its plan: before it, or in the midst of it.

From outside a kill comes when it comes. Here the process kills itself, at `BEGUN`, when the step
has done nothing yet, or at `SENT`: a change went out to the swarm or the host, and whether and how
that ended nobody here learns. Of an upload only a part has gone out then.
"""

import json
import signal
from typing import Any

from tests.lab.swarm import Swarm

BEGUN, SENT = "begun", "sent"
SEEN: set[str] = set()
"""The kinds of steps that an apply was killed in, by this process."""

_PROGRAM = """
import os, runpy, signal, sys, threading
from swarmops.client.transport import Transport
from swarmops.fleet.actions import Actions
from swarmops.fleet.ssh import SshShell

wanted, moment = sys.argv[1:3]
del sys.argv[1:3]
here = threading.local()
do, request, run = Actions.do, Transport.request, SshShell.run

def die_in(step, now):
    if (step, now) == (wanted, moment):
        os.kill(os.getpid(), signal.SIGKILL)

def mortal_do(self, step):
    here.step = step.id
    die_in(step.id, "begun")
    done = do(self, step)
    die_in(step.id, "sent")
    here.step = ""
    return done

def mortal_request(self, method, *args, **kwargs):
    answer = request(self, method, *args, **kwargs)
    if method != "GET":
        die_in(getattr(here, "step", ""), "sent")
    return answer

def mortal_run(self, command, *, stdin=b"", **kwargs):
    step = getattr(here, "step", "")
    def parts():
        for number, part in enumerate([stdin] if isinstance(stdin, bytes) else stdin):
            yield part
            if number or not step.startswith("install:"):
                die_in(step, "sent")
    return run(self, command, stdin=parts(), **kwargs)

Actions.do, Transport.request, SshShell.run = mortal_do, mortal_request, mortal_run
runpy.run_module("swarmops", run_name="__main__", alter_sys=True)
"""


def planned(swarm: Swarm) -> list[str]:
    """Return the IDs of the steps that an apply would take, in their order."""
    plan: dict[str, Any] = json.loads(
        swarm.operator.run("plan", "--format", "json", swarm.inventory, rc=2).out
    )
    return [step["id"] for step in plan["steps"]]


def killed(swarm: Swarm, step: str, moment: str) -> None:
    """Run an apply that dies in that step; it takes one at a time, so all before it are done."""
    words = ("apply", "--yes", "--forks", "1", swarm.inventory)
    program = ("-c", _PROGRAM, step, moment)
    with swarm.operator.start(*words, program=program) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, f"not killed in {step}: {out}{err}"


def killed_in(swarm: Swarm, *steps: str) -> None:
    """Run applies, two for each step of the plan whose ID begins so, each of which dies in it.

    Nobody cleans up between them: each goes on from where the one before was killed.
    """
    found = [step for step in planned(swarm) if step.startswith(steps)]
    missed = [one for one in steps if not any(step.startswith(one) for step in found)]
    assert not missed, f"the plan has no such steps: {missed}"
    for step in found:
        for moment in (BEGUN, SENT):
            killed(swarm, step, moment)
    SEEN.update(step.partition(":")[0] for step in found)
