"""The small parts: request sessions, flow control, room for proposals, the check of the engine."""

from __future__ import annotations

import asyncio
import pickle
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import swarmops.raft
from swarmops.raft import BootClock, Timing, engine, engine_core
from swarmops.raft.disk import ThreadLanes
from swarmops.raft.errors import IncompatibleEngine, RaftError
from swarmops.raft.messages import FRAME_BYTES_MAX
from swarmops.raft.progress import Progress
from swarmops.raft.proposals import Proposals
from swarmops.raft.sessions import SESSIONS_MAX, Sessions
from swarmops.raft.stock import Node

NOTHING = ("?", "x", Node("x"))
"""A request for a change, as the engine has it, of no kind that it knows."""
SHUT: dict[str, tuple[object, str]] = {
    "doApplyCommand": (b"\x01", "applied an entry past our"),
    "parseChangeClusterRequest": (b"\x02" + pickle.dumps("add"), "a membership past our"),
    "loadDumpFile": (False, "loaded a dump past our"),
    "changeCluster": (NOTHING, "go through the seam"),
    "doChangeCluster": (NOTHING, "go through the seam"),
}
"""The engine's methods that ours refuse, with what the engine itself takes without a word."""


def test_a_request_is_applied_the_first_time_only():
    """Also out of order, and after the table went through a snapshot."""
    sessions = Sessions()
    assert sessions.first_time(1, 7, 2, 1)
    assert sessions.first_time(2, 7, 1, 1)
    assert not sessions.first_time(3, 7, 2, 1)
    copy = Sessions()
    copy.load(sessions.dump())
    assert not copy.first_time(4, 7, 1, 1)
    assert copy.first_time(4, 7, 3, 1)
    assert copy.dump() != sessions.dump()


@pytest.mark.slow
def test_a_table_of_proposers_that_died_under_load_fits_a_frame():
    """Each had 5,000 in flight, some of them lost; the table is the same after its way."""
    sessions = Sessions()
    for session_id in range(SESSIONS_MAX):
        for number in range(1, 5000):
            if number % 250:
                sessions.first_time(number, session_id, number, 1)
    dump = sessions.dump()
    assert len(dump) < FRAME_BYTES_MAX / 10
    copy = Sessions()
    copy.load(dump)
    assert copy.dump() == dump
    assert copy.was_applied(7, 4999)
    assert not copy.was_applied(7, 500)


def test_what_its_proposer_gave_up_is_never_applied_late():
    """Below the floor all is done, applied or not."""
    sessions = Sessions()
    assert sessions.first_time(1, 7, 9, 9)
    assert not sessions.first_time(2, 7, 8, 3)


def test_sessions_are_bounded_and_the_least_used_goes():
    """However many runs of proposers there were."""
    sessions = Sessions()
    for number in range(3 * SESSIONS_MAX):
        sessions.first_time(number, number % (2 * SESSIONS_MAX), number, number)
    assert sessions.dump().count(b"\x93") >= SESSIONS_MAX
    assert len(sessions._sessions) == SESSIONS_MAX


def test_a_follower_gets_a_bounded_amount_in_flight():
    """By messages and by bytes, one message while probing, none during a snapshot."""
    progress = Progress(messages_max=4, bytes_max=1000)
    progress.sent(5, 10)
    assert not progress.has_room()
    progress.acknowledged(5)
    for n in range(4):
        assert progress.has_room()
        progress.sent(6 + n, 10)
    assert not progress.has_room()
    progress.acknowledged(9)
    progress.sent(10, 1000)
    assert not progress.has_room()
    progress.acknowledged(10)
    assert progress.has_room()
    progress.snapshot = True
    assert not progress.has_room()


def test_another_release_of_the_engine_is_refused_in_one_sentence():
    """A private name that is overridden but isn't there, or another version."""

    def lost() -> None:
        """Stand in for an override."""

    layer = type("_SyncObj", (), {"_SyncObj__lost": lost})
    with pytest.raises(IncompatibleEngine, match=r"lacking: _SyncObj__lost.*install pysyncobj=="):
        engine_core.check_release(layer)
    engine_core.check_release(engine.Engine)


@pytest.mark.parametrize("name", SHUT)
def test_the_engines_own_ways_past_ours_are_shut(name: str):
    """Each unpickles, changes members unasked, or goes on without a state: it is told at once."""
    argument, refusal = SHUT[name]
    bare: Any = object.__new__(engine.Engine)
    bare._SyncObj__raftLastApplied, bare._SyncObj__noopIDx = 1, 2
    with pytest.raises(RaftError, match=refusal):
        getattr(bare, f"_SyncObj__{name}")(argument)


def test_every_override_of_a_private_name_says_which_fault_it_corrects():
    """The docstring of each names the fault."""
    for layer in engine.Engine.__mro__[:4]:
        for name, member in vars(layer).items():
            if name.startswith("_SyncObj__") and callable(member):
                assert "Fault" in (member.__doc__ or ""), name


def test_the_engine_is_known_by_the_fewest_files():
    """All others see consensus through ``swarmops.raft`` alone."""
    package = Path(swarmops.raft.__file__).parents[1]
    importing = re.compile(r"^\s*(import|from) pysyncobj", re.MULTILINE)
    found = [file.name for file in package.rglob("*.py") if importing.search(file.read_text())]
    assert found == ["stock.py"]


def test_the_default_bounds_are_those_that_were_promised():
    """What the others' tests make small."""
    timing = Timing()
    assert timing.trailing_entries >= 500
    assert timing.read_lease_s < timing.election_min_s
    assert timing.step_down_s <= 1.0


def test_the_engine_leaves_the_socket_module_as_it_was():
    """PySyncObj's import breaks ``socket.inet_ntop``, which name resolution needs: it is mended."""
    import subprocess
    import sys

    program = (
        "import socket; before = socket.inet_ntop; import swarmops.raft.raft; "
        "assert socket.inet_ntop is before; socket.inet_ntop(socket.AF_INET, bytes(4))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_clock_of_a_lease_goes_on_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch):
    """A leader that wakes up must not believe in the lease that it fell asleep with."""
    asked: list[int] = []

    def clock_gettime(which: int) -> float:
        asked.append(which)
        return 5.0

    monkeypatch.setattr(time, "clock_gettime", clock_gettime)
    assert BootClock().time() == 5.0
    assert asked == [time.CLOCK_BOOTTIME]


async def test_room_that_a_caller_leaves_untaken_is_the_next_ones():
    """It was let in and went away in the same turn: nobody else would ever have been woken."""
    proposals = Proposals(7, BootClock(), Timing(pending_bytes=1))
    before = proposals.add(b"x", 60)
    first, second = (asyncio.ensure_future(proposals.wait_for_room(60)) for _ in range(2))
    await asyncio.sleep(0)
    proposals.applied(1, "done", None)
    first.cancel()
    async with asyncio.timeout(30):
        await second
    assert (first.cancelled(), await before) == (True, "done")


async def test_a_disk_that_hangs_holds_up_only_who_waits_for_the_end():
    """The loop goes on; the last job comes when the disk is back, on its thread."""
    lanes = ThreadLanes(asyncio.get_running_loop().call_soon_threadsafe)
    is_back, last = threading.Event(), list[tuple[bool, str]]()
    lanes.submit("log", lambda: is_back.wait(60), lambda _result, _error: None)
    closing = asyncio.ensure_future(
        lanes.close(lambda: last.append((is_back.is_set(), threading.current_thread().name)))
    )
    await asyncio.sleep(0.05)
    assert not closing.done(), "the loop stood still"
    is_back.set()
    await closing
    assert [was_back for was_back, _ in last] == [True]
    assert last[0][1] != threading.main_thread().name


async def test_many_small_proposals_are_bounded_too():
    """What each takes beside its data counts."""
    proposals = Proposals(7, BootClock(), Timing(pending_bytes=100 * 1024))
    count = 0
    while not proposals.is_full():
        proposals.add(b"", 60)
        count += 1
        assert count <= 100
    for number in range(1, count + 1):
        proposals.applied(number, None, None)
    assert not proposals.is_full()
    assert not proposals.any_pending()
