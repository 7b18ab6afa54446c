"""What an apply came to, and the exit code that says it.

Made by ``apply``, shown by the CLI; data only.
"""

from __future__ import annotations

import msgspec

from swarmops.fleet.execute import Ended, State
from swarmops.fleet.rows import NodeRow, ServiceRow


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What an apply came to. ``failures`` and ``problems`` are reasons by host or service.

    ``refusals``: nothing was done because of them. ``lacks``: what did not come true in time.
    """

    ended: tuple[Ended, ...] = ()
    warnings: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    failures: dict[str, str] = {}
    problems: dict[str, str] = {}
    lacks: tuple[str, ...] = ()
    interrupted: bool = False
    more: bool = False
    """There is more to do than the reviewed plan had."""
    nodes: list[NodeRow] = []
    services: list[ServiceRow] = []

    @property
    def changed(self) -> bool:
        """Something was done."""
        return any(ended.state is State.DONE for ended in self.ended)

    @property
    def exit_code(self) -> int:
        """See docs/cli.md: 0, 1, 2 (more to do than was reviewed), 3 (some hosts), 130."""
        if self.interrupted:
            return 130
        if self.refusals:
            return 1
        if self.failed_hosts:
            return 3
        return int(bool(self.failures or self.problems or self.lacks)) or 2 * self.more

    @property
    def failed_hosts(self) -> set[str]:
        """Hosts on which something could not be done, or that are not as they should be."""
        failed = {
            end.step.target
            for end in self.ended
            if end.state is State.FAILED and not end.step.on_service
        }
        failed |= {of for of in self.problems if not of.startswith("service ")}
        return failed | {
            row.host for row in self.nodes for lack in self.lacks if lack.split()[0] == row.host
        }
