"""Ctrl-C during an apply: it stops at a safe point, says what it did, and the next one goes on."""

import re
import signal
import time
from collections.abc import Iterator

import pytest

from tests.lab.command import TRACEBACK
from tests.lab.hosts import Host
from tests.lab.lab import Lab
from tests.lab.swarm import Swarm, answers, drawn, web

PLAYBOOK = {"swarm": {"managers": 3}, "services": {"web": web(3)}}


@pytest.fixture(scope="module")
def hosts(lab: Lab) -> Iterator[tuple[Host, ...]]:
    """Three hosts, bare at first."""
    # Who runs the tests in the background has Ctrl-C ignored, and so would have their children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with lab.claim(3, engine=False) as hosts:
        yield hosts


@pytest.fixture
def swarm(hosts: tuple[Host, ...], tmp_path_factory: pytest.TempPathFactory) -> Swarm:
    """The hosts, with whatever an earlier test did to them."""
    swarm = drawn(hosts, tmp_path_factory, "interrupt")
    swarm.write(PLAYBOOK)
    return swarm


@pytest.mark.parametrize(
    "moment",
    [
        r"looking at 3 hosts",
        r"doing \d+ steps",
        r"\w+: starting the runtime: done",
        r"\w+: joining as \w+: done",
    ],
)
def test_ctrl_c_stops_at_a_safe_point_and_the_next_apply_goes_on(
    swarm: Swarm, lab: Lab, moment: str
) -> None:
    """From bare hosts: exit code 130, what was done is said, and applying again finishes it."""
    lab.wipe(*swarm.hosts)
    said, rc, took_s = interrupted(swarm, moment)
    assert rc == 130, said
    assert TRACEBACK not in said
    assert "Interrupted" in said
    assert took_s < 60
    for done in re.findall(r"(host\d: [a-z ]+): done", said):
        assert done in said.partition("Interrupted")[2] or "looking" in moment
    swarm.apply()
    swarm.settle()
    assert len(swarm.managers()) == 3
    assert len(swarm.placed()) == 3
    assert all(map(answers, swarm.urls()))
    assert "Nothing needs doing" in swarm.apply().out


def interrupted(swarm: Swarm, moment: str) -> tuple[str, int, float]:
    """Send Ctrl-C once apply says something; return all that it said, its exit code, how long."""
    with swarm.operator.start("apply", swarm.inventory) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = []
        began = time.monotonic()
        for line in process.stderr:
            said.append(line)
            if re.match(moment, line):
                began = time.monotonic()
                process.send_signal(signal.SIGINT)
                break
        said += [process.stderr.read(), process.stdout.read()]
        rc = process.wait(timeout=60)
    return "".join(said), rc, time.monotonic() - began
