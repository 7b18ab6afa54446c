"""Run a node as ``python -m swarmops.runtime`` does, and note what held its event loop for longest.

    python -m bench.held_loop REPORT [arguments of swarmops.runtime …]

Every turn of every callback is timed by the processor time of the loop's own thread, so that what
else the machine does is not counted. On SIGUSR1 the longest turns since the last SIGUSR1 are
written to REPORT as JSON, by what ran: a task's name and the function in which its turn ended.
"""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from swarmops.runtime import lean

WORTH_NOTING_S = 0.002


class Turns:
    """The longest turn and the total of each kind of callback."""

    def __init__(self) -> None:
        self.longest_s: dict[str, float] = {}
        self.count: dict[str, int] = {}
        self.spent_s = 0.0

    def note(self, name: str, took_s: float) -> None:
        """Count one turn that is worth it."""
        self.count[name] = self.count.get(name, 0) + 1
        if took_s > self.longest_s.get(name, 0.0):
            self.longest_s[name] = took_s

    def write(self, path: Path) -> None:
        """Write and forget them."""
        told = {
            name: {"longest_ms": round(1000 * longest_s, 1), "count": self.count[name]}
            for name, longest_s in sorted(self.longest_s.items(), key=lambda item: -item[1])
        }
        scratch = path.with_suffix(".new")
        scratch.write_text(json.dumps(told, indent=1))
        scratch.rename(path)
        self.longest_s.clear()
        self.count.clear()


def watch(turns: Turns) -> None:
    """Time every callback of every event loop from now on."""
    run = asyncio.Handle._run  # noqa: SLF001 - there is no other place where each turn passes

    def timed(handle: Any) -> None:
        began_s = time.thread_time()
        run(handle)
        took_s = time.thread_time() - began_s
        if took_s > WORTH_NOTING_S:
            turns.note(name_of(handle), took_s)

    asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]  # noqa: SLF001 - as above
    began_s = 0.0

    def collected(phase: str, info: dict[str, int]) -> None:
        nonlocal began_s
        if phase == "start":
            began_s = time.thread_time()
        elif (took_s := time.thread_time() - began_s) > WORTH_NOTING_S:
            turns.note(f"garbage collection, generation {info['generation']}", took_s)

    gc.callbacks.append(collected)


def name_of(handle: Any) -> str:
    """Say what a callback is: of a task its name and where it waits now."""
    callback = handle._callback  # noqa: SLF001 - as above
    task = getattr(callback, "__self__", None)
    if not isinstance(task, asyncio.Task):
        return str(getattr(callback, "__qualname__", callback))
    name = task.get_name()
    name = "" if name.startswith("Task-") else f" {name}"
    coroutine: Any = task.get_coro()
    places: list[str] = []
    while coroutine is not None and len(places) < 8:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        places.append(
            getattr(coroutine, "__qualname__", "?") + (f":{frame.f_lineno}" if frame else "")
        )
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
        if not hasattr(coroutine, "__qualname__"):
            break
    return f"task{name}: " + " > ".join(places[-3:])


def main() -> int:
    """Watch, then be the node."""
    report = Path(sys.argv.pop(1))
    turns = Turns()
    watch(turns)
    signal.signal(signal.SIGUSR1, lambda *_: turns.write(report))
    with lean.imports():
        from swarmops.runtime.node import main as run_node  # noqa: PLC0415 - as the runtime does
    return run_node()


if __name__ == "__main__":
    raise SystemExit(main())
