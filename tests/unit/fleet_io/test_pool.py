"""Many hosts at once: bounded, each result apart, interrupted safely."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from swarmops.errors import HostError, Interrupted, SwarmopsError
from swarmops.fleet.pool import run_on


def test_one_hosts_error_stops_no_other() -> None:
    """Results and errors come back by name, in the order of the hosts."""

    def work(name: str) -> int:
        if name == "b":
            raise HostError(name, "no")
        return len(name)

    seen: list[str] = []
    outcome = run_on(["ccc", "b", "aa"], work, on_done=lambda name, _: seen.append(name))
    assert list(outcome.results.items()) == [("ccc", 3), ("aa", 2)]
    assert str(outcome.errors["b"]) == "b: no"
    assert sorted(seen) == ["aa", "b", "ccc"]


def test_no_more_run_at_once_than_forks() -> None:
    """With two forks two run at a time, and never three."""
    lock, running, most = threading.Lock(), 0, 0
    both = threading.Barrier(2)

    def work(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.wait(60)
        with lock:
            running -= 1

    run_on(range(6), work, forks=2)
    assert most == 2


def test_a_defect_is_not_taken_for_a_hosts_error() -> None:
    """What is no SwarmopsError is raised as it is."""

    def work(_: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_on(["a"], work)


def test_ctrl_c_lets_what_runs_finish_and_starts_nothing_new() -> None:
    """After Ctrl-C the hosts that are at work come to an end, and it is said which."""
    began: list[str] = []
    interrupted = threading.Event()

    def work(name: str) -> None:
        began.append(name)
        assert name == "a" or interrupted.wait(60)

    def interrupt(name: str, _: SwarmopsError | None) -> None:
        assert name == "a"
        interrupted.set()
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="done on these hosts: a") as caught:
        run_on(["a", *(f"h{n}" for n in range(2000))], work, forks=1, on_done=interrupt)
    assert caught.value.exit_code == 130
    assert len(began) < 2000


def test_ctrl_c_before_all_have_begun_is_no_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may come while the work is being handed out: what has begun ends, and is named."""
    submit = ThreadPoolExecutor.submit

    def interrupted(
        pool: ThreadPoolExecutor, work: Callable[[str], object], name: str
    ) -> Future[object]:
        if name == "b":
            raise KeyboardInterrupt
        return submit(pool, work, name)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    with pytest.raises(Interrupted, match=r"done on these hosts: a$"):
        run_on(["a", "b", "c"], lambda item: item)


def test_no_hosts_is_no_work() -> None:
    """An empty selection is fine."""
    assert run_on([], len).results == {}
