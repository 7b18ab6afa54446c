"""What an apply does, on a terminal: one row per host or service, redrawn in place.

Made by ``progress.make_progress``. Never decides anything, never writes to stdout.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from swarmops.cli.progress import Shown, doing, ending
from swarmops.fleet.execute import Ended, State
from swarmops.fleet.steps import Plan, Step

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

_STYLES = {State.DONE: "green", State.UNNEEDED: "green", State.FAILED: "bold red"}


class LiveTable(Shown):
    """One row per host or service, redrawn in place, with what it does now."""

    def __init__(self, *, yes: bool = False, verbose: bool = False) -> None:
        super().__init__(yes=yes, verbose=verbose)
        self._rows: dict[str, tuple[str, str, float]] = {}
        self._phase = ""
        self._live: Live | None = None

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True, highlight=False)
        self._live = Live(
            console=console, get_renderable=self._drawn, refresh_per_second=8, transient=True
        )
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Take the table away, and draw it again."""
        if self._live is not None:
            self._live.stop()
        try:
            yield
        finally:
            if self._live is not None:
                self._live.start()

    def say(self, text: str) -> None:
        """Print above the table."""
        if self._live is None:
            super().say(text)
        else:
            self.log(text)
            self._live.console.print(text, markup=False)

    def phase(self, text: str) -> None:
        """Name what is being done over the table."""
        super().phase(text)
        self._phase = text

    def host(self, name: str, error: str) -> None:
        """Show that a host was looked at; the report says what is wrong with it."""
        super().host(name, error)
        self._rows[name] = ("can't be used", "bold red", 0.0) if error else ("seen", "dim", 0.0)

    def planned(self, plan: Plan) -> None:
        """Make a row for all that is to be done."""
        super().planned(plan)
        for step in plan.steps:
            self._rows.setdefault(step.target, ("waiting", "dim", 0.0))

    def began(self, step: Step) -> None:
        """Show a step in its row."""
        super().began(step)
        self._rows[step.target] = (doing(step), "", time.monotonic())

    def ended(self, ended: Ended) -> None:
        """Show a step's end in its row; what failed stays on the screen."""
        super().ended(ended)
        style = _STYLES.get(ended.state, "yellow")
        self._rows[ended.step.target] = (f"{doing(ended.step)}: {ending(ended)}", style, 0.0)
        if ended.state in {State.FAILED, State.SKIPPED}:
            self.say(f"{ended.step.target}: {doing(ended.step)}: {ending(ended)}")

    def _drawn(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, show_header=False, title_justify="left")
        table.title = Text(f"{self._phase} …")
        now = time.monotonic()
        for target, (text, style, since) in list(self._rows.items()):
            running = f"{text} {now - since:.0f} s" if since else text
            table.add_row(Text(target, style="bold"), Text(running, style=style))
        return table
