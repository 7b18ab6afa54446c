"""Ctrl-C, SIGTERM and a closed terminal all raise KeyboardInterrupt in the main thread.

Python drops what is raised while an object is finalized: an interrupt that came just then would be
lost, and whoever waits would wait on. So it is put off until nothing is being closed.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

AGAIN_S = 0.02
AGAIN_MAX = 50
"""After a second of closing it is raised whatever happens: that may be what hangs."""
_CLOSING = {"close", "flush", "__del__"}


def end_as_after_ctrl_c() -> None:
    """Have the signals raise KeyboardInterrupt; who has them ignored, with nohup, keeps that."""
    if threading.current_thread() is not threading.main_thread():
        return
    interrupt = _Interrupt()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}:
            signal.signal(number, interrupt)
    signal.signal(signal.SIGALRM, interrupt)


class _Interrupt:
    """The handler of all of them, and of the alarm for one that was put off."""

    def __init__(self) -> None:
        self._put_off = 0

    def __call__(self, _number: int, frame: FrameType | None) -> None:
        if _closes(frame) and self._put_off < AGAIN_MAX:
            self._put_off += 1
            signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
            return
        self._put_off = 0
        raise KeyboardInterrupt


def _closes(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name in _CLOSING:
            return True
        frame = frame.f_back
    return False
