"""One apply at a time, with real processes: two at once, killed ones, and a lock freed by hand."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.local.conftest import Local


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
