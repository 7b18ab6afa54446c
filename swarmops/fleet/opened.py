"""A fleet as a run has opened it: its files, its backend, its connections, the part that is wanted.

Made by every command that works on all hosts. ``look`` observes and plans; nothing here changes
anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from swarmops.backends.base import Backend, load_backend
from swarmops.errors import Interrupted
from swarmops.fleet.backend_of import on_backend
from swarmops.fleet.execute import Watcher
from swarmops.fleet.inventory import Inventory, read_inventory
from swarmops.fleet.observe import Seen, observe
from swarmops.fleet.plan import make_plan
from swarmops.fleet.playbook import Playbook, playbook_paths, read_playbook
from swarmops.fleet.pool import FORKS
from swarmops.fleet.selection import Selection, Wanted, read_selection, select
from swarmops.fleet.shells import Shells
from swarmops.fleet.steps import Plan, Step


class Progress(Watcher):
    """Hears of an apply's course, in the thread that runs it; overridden by who shows it."""

    def phase(self, text: str) -> None:
        """Learn what is being done now, such as "looking at 5 hosts"."""

    def host(self, name: str, error: str) -> None:
        """Learn that a host was looked at, and why that failed ('' if it did not)."""

    @property
    def asks(self) -> bool:
        """Whether ``allow`` may ask somebody, or refuse."""
        return False

    def allow(self, steps: Sequence[Step]) -> None:
        """Say whether steps that take something away may be done; raise SwarmopsError if not."""

    def planned(self, plan: Plan) -> None:
        """Learn what will be done."""


class Fleet(msgspec.Struct, frozen=True):
    """What a run works on: the files as they were read, the backend, the connections."""

    inventory: Inventory
    playbook: Playbook
    backend: Backend
    shells: Shells
    forks: int = FORKS
    selection: Selection = Selection()


def open_fleet(
    inventory_path: Path,
    playbooks: Sequence[Path],
    shells: Shells,
    forks: int = FORKS,
    wanted: Wanted = Wanted(),  # noqa: B008 - frozen
) -> Fleet:
    """Read the inventory and its playbook, find the backend. Raises InputError.

    ``playbooks`` are those that ``-p`` named; without any it is the inventory's.
    """
    inventory = read_inventory(inventory_path)
    playbook = read_playbook(playbook_paths(inventory, playbooks), inventory)
    if wanted.replace_dead:
        playbook = msgspec.structs.replace(playbook, replace_dead_after_s=0)
    selection = read_selection(inventory, wanted)
    hooks = playbook.hooks.within(selection)
    playbook = msgspec.structs.replace(playbook, hooks=hooks)
    backend = load_backend(playbook.backend)
    return Fleet(on_backend(inventory, backend), playbook, backend, shells, forks, selection)


def look(fleet: Fleet, progress: Progress) -> tuple[Seen, Plan]:
    """Observe all hosts and plan; changes nothing."""
    progress.phase(f"looking at {counted(len(fleet.inventory.hosts), 'host')}")
    try:
        seen = observe(
            fleet.inventory,
            fleet.backend,
            fleet.shells,
            forks=fleet.forks,
            also=fleet.playbook.lists,
            on_host=progress.host,
        )
    except Interrupted:
        raise Interrupted("Interrupted while looking at the hosts: nothing was changed.") from None
    plan = make_plan(fleet.inventory, fleet.playbook, seen.observation)
    return seen, select(plan, fleet.selection)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 host``, ``3 hosts``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
