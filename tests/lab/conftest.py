"""Fixtures for tests on real hosts. Everything below tests/lab is marked `lab`.

A lab that is up (`make lab-up`) is used and left up; otherwise one is started for the run and
taken down by the last process that uses it. Where no lab can run, the tests are left out and one
line says so; in CI, as root, that is an error instead.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab import lab as labs
from tests.lab.cache import cache_dir, default_lab_name
from tests.lab.hosts import Host
from tests.lab.lab import Lab
from tests.lab.prerequisites import missing

HERE = Path(__file__).parent
HOSTS = 6
LEFT_OUT = pytest.StashKey[int]()

Claim = Callable[..., tuple[Host, ...]]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is below this folder, and deselect all lab tests where no lab can run."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.lab)
    reason = missing()
    if not reason:
        return
    chosen = [item for item in items if item.get_closest_marker("lab")]
    if chosen and os.environ.get("CI") == "true" and os.geteuid() == 0:
        raise pytest.UsageError(reason)
    config.stash[LEFT_OUT] = len(chosen)
    config.hook.pytest_deselected(items=chosen)
    items[:] = [item for item in items if item not in chosen]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which tests were left out, and why."""
    if count := config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(f"left out {count} tests marked lab (tests/lab): {missing()}")


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A running lab of at least six hosts, shared by all tests. Claim hosts before using them."""
    directory = cache_dir()
    started_by_tests = directory / f"started-by-tests-{default_lab_name()}"
    with (directory / f"users-{default_lab_name()}.lock").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        found = labs.running()
        if found is None:
            started_by_tests.touch()
            found, _timings = labs.up(count=HOSTS)
        yield found
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if started_by_tests.exists():
            labs.down()
            started_by_tests.unlink()


@pytest.fixture
def claim(lab: Lab) -> Iterator[Claim]:
    """Claim bare hosts for one test: `claim(5)`, `claim(5, engine=False)`; see Lab.claim."""
    with ExitStack() as stack:

        def take(
            count: int | None = None, *, engine: bool | Sequence[bool] = True
        ) -> tuple[Host, ...]:
            return stack.enter_context(lab.claim(count, engine=engine))

        yield take


@pytest.fixture
def hosts(claim: Claim) -> tuple[Host, ...]:
    """Six bare hosts with Docker Engine, for one test alone."""
    return claim(HOSTS)


@pytest.fixture
def engineless_hosts(claim: Claim) -> tuple[Host, ...]:
    """Six bare hosts whose Docker is off and disabled, for one test alone."""
    return claim(HOSTS, engine=False)
