"""Signals interrupt the program wherever they come."""

from __future__ import annotations

import io
import signal
import time
from collections.abc import Iterator

import pytest

from swarmops.cli.interrupting import end_as_after_ctrl_c

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Let the signals do what they usually do, and again afterwards."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in NUMBERS[1:]:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Closing(io.RawIOBase):
    """A file that gets a signal while it is closed."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def close(self) -> None:
        """Close it."""
        if not self.closed:
            signal.raise_signal(self._number)
        super().close()


def wait() -> None:
    """Wait for something that does not come."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(0.01)  # the main thread waits, as it does for a swarm


@pytest.mark.parametrize("number", NUMBERS[:3], ids=["INT", "TERM", "HUP"])
def test_a_signal_interrupts_who_waits(number: int) -> None:
    """As Ctrl-C does."""
    end_as_after_ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


@pytest.mark.parametrize("number", NUMBERS[:3], ids=["INT", "TERM", "HUP"])
def test_a_signal_that_comes_while_something_is_finalized_is_not_lost(number: int) -> None:
    """Python drops the exception there: it comes a moment later."""
    end_as_after_ctrl_c()
    Closing(number)  # nobody keeps it: it is finalized at once
    with pytest.raises(KeyboardInterrupt):
        wait()


def test_a_close_that_hangs_is_interrupted() -> None:
    """It is put off for a second, no more."""

    class Hanging:
        """Closing it takes for ever."""

        def close(self) -> None:
            """Ask for the interrupt, and wait."""
            signal.raise_signal(signal.SIGINT)
            wait()

    end_as_after_ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        Hanging().close()


def test_who_ignores_a_signal_goes_on() -> None:
    """As with nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_as_after_ctrl_c()
    signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
