"""One apply at a time, with real processes: two at once, killed ones, and a lock freed by hand."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.local.conftest import Local, signalled, wait_for


def lock_files(local: Local) -> list[Path]:
    """The lock files that are on the hosts."""
    return list(local.folder.glob(".demo/*/.data.apply-lock"))


def killed(local: Local, moment: str) -> None:
    """Begin an apply and kill it with -9 as soon as it says something."""
    with local.start("apply", str(local.inventory)) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if moment in line:
                process.send_signal(signal.SIGKILL)
                break
        process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_two_applies_at_once_on_bare_hosts(local: Local) -> None:
    """One makes the swarm, the other is told who does; afterwards no lock is left anywhere."""
    pair = [local.start("apply", str(local.inventory)) for _ in range(2)]
    said = [process.communicate(timeout=120) for process in pair]
    assert sorted(process.returncode for process in pair) == [0, 4], said
    refused = next(err for (_, err), done in zip(said, pair, strict=True) if done.returncode == 4)
    assert "the swarm is locked by" in refused
    assert "unlock-apply --reason" in refused
    assert lock_files(local) == []
    assert "Nobody has locked it" in local.swarmops("unlock-apply", "--reason", "look").stdout
    local.swarmops("destroy", "--yes", str(local.inventory))


def test_a_killed_apply_holds_nobody_up(local: Local) -> None:
    """Killed with -9 before there is a swarm and after: the next apply does the rest at once."""
    killed(local, "node1: starting the runtime: done")
    assert len(lock_files(local)) == 1
    killed(local, "joining as manager: done")
    local.swarmops("apply", str(local.inventory))
    assert lock_files(local) == []
    assert len(local.nodes()) == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_no_lock(local: Local, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and a closed terminal: exit code 130, and the label is empty at once."""
    # Whoever runs the tests in the background, or with nohup, has Ctrl-C or the end of a terminal
    # ignored, and so would have their children.
    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    signal.signal(number, usual)
    local.swarmops("apply", str(local.inventory))
    with local.never_done(str(number.value)):
        with local.start("apply", str(local.inventory)) as process:
            signalled(process, number)
            process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Nobody has locked it" in local.swarmops("unlock-apply", "--reason", "look").stdout


@pytest.mark.slow
def test_a_lock_of_another_machine_ends_by_itself(local: Local) -> None:
    """Of a run that was killed elsewhere nobody here knows: 4 while its time runs, then 0."""
    local.swarmops("apply", str(local.inventory))
    elsewhere = ["unshare", "--pid", "--fork", "--kill-child=KILL"]
    if os.geteuid() != 0:
        elsewhere.insert(1, "--map-root-user")
    apply = ("apply", str(local.inventory))
    with local.never_done("9"), local.start(*apply, within=elsewhere) as process:
        signalled(process, signal.SIGKILL)
        process.communicate(timeout=60)
    text = local.playbook.read_text()
    local.playbook.write_text(text.replace("replicas: 4", "replicas: 3"))
    refused = local.swarmops("apply", str(local.inventory), expect=4)
    assert "its lock ends 30 s after the last sign of life" in refused.stderr

    def applied() -> bool:
        with local.start("apply", str(local.inventory)) as again:
            again.communicate(timeout=60)
        assert again.returncode in {0, 4}
        return again.returncode == 0

    wait_for(applied, "an apply after the lock's time", within_s=45)
    local.playbook.write_text(text)
