"""A failing seed is seen again by whoever types what it prints, in another process too."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from tests.sim.raft import __main__ as command
from tests.sim.raft.mutations import TABLE, noticed

ROOT = Path(__file__).parents[3]
FAULT = "leading before term and vote are durable"
HASH = "from tests.sim.raft.world import simulate; print(simulate(7).trace_hash)"


def _main(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run the command in this process; return its exit code and what it printed."""
    with mock.patch.object(sys, "argv", ["raft", *arguments]):
        code = command.main()
    return code, capsys.readouterr().out


def test_a_failing_seed_prints_the_command_that_shows_it_again(capsys: pytest.CaptureFixture[str]):
    """Exit 1, the end of the trace, what failed; and the printed command says it all again."""
    fault = next(each for each in TABLE if each.name == FAULT)
    seed, _ = noticed(fault)
    with fault.patch():
        code, printed = _main(["--seed", seed], capsys)
        replay = re.search(r"^replay: (.+)$", printed, re.MULTILINE)
        assert replay is not None, printed
        python, module, name, *arguments = shlex.split(replay[1])
        again = _main(arguments, capsys)
    assert code == 1
    assert re.search(rf"^seed {seed} fails: .*{fault.noticed_as}", printed, re.MULTILINE)
    assert (python, module, name) == (".venv/bin/python", "-m", "tests.sim.raft")
    assert again == (code, printed)


@pytest.mark.slow
def test_a_seed_does_the_same_in_another_process():
    """Whatever order sets of strings have there."""
    hashes = {
        subprocess.run(
            [sys.executable, "-c", HASH],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            check=True,
            capture_output=True,
            timeout=120,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1
