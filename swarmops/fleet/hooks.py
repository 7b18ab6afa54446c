"""The playbook's ``hooks``: commands before and after what an apply does.

Read by the playbook's reader, run by apply: before the first step and after the last, only when
there is something to do, on the operator's machine or on hosts. One that fails stops what follows.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from swarmops.errors import HostError, InputError, SwarmopsError
from swarmops.fleet.compose_fields import Table, duration, fields, words
from swarmops.fleet.entry import Entry
from swarmops.fleet.inventory import Inventory
from swarmops.fleet.patterns import match_hosts
from swarmops.fleet.pool import run_on
from swarmops.fleet.selection import Selection
from swarmops.fleet.shells import Shells
from swarmops.fleet.steps import AREAS
from swarmops.fleet.targets import target_of

WHEN = ("before", "after")
PARTS = tuple(sorted(set(AREAS.values())))
_TIMEOUT_NS = 60 * 10**9


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """One command. ``hosts`` empty: on the operator's machine, in the playbook's folder.

    ``areas`` are what ``--only`` calls the parts of an apply that it belongs to; empty: any.
    """

    command: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    areas: tuple[str, ...] = ()
    timeout_s: float = 60.0

    @property
    def text(self) -> str:
        """What is run, where, and for how long at most."""
        where = ", ".join(self.hosts) or "this machine"
        return f"on {where}: {shlex.join(self.command)} (at most {self.timeout_s:g} s)"


class Hooks(msgspec.Struct, frozen=True, kw_only=True):
    """All of them, in order."""

    before: tuple[Hook, ...] = ()
    after: tuple[Hook, ...] = ()

    def within(self, selection: Selection) -> Hooks:
        """Return what an apply of a part runs: on the chosen hosts alone, and on this machine."""
        return Hooks(before=_within(self.before, selection), after=_within(self.after, selection))

    def lines(self) -> Iterator[str]:
        """Yield each hook in a line, in the order in which they are run."""
        yield from (f"before, {hook.text}" for hook in self.before)
        yield from (f"after, {hook.text}" for hook in self.after)


def _within(hooks: Sequence[Hook], selection: Selection) -> tuple[Hook, ...]:
    hosts, areas = selection.hosts, selection.areas
    kept = [h for h in hooks if areas is None or not h.areas or areas.intersection(h.areas)]
    if hosts is None:
        return tuple(kept)
    cut = ((hook, tuple(name for name in hook.hosts if name in hosts)) for hook in kept)
    return tuple(
        msgspec.structs.replace(hook, hosts=chosen)
        for hook, chosen in cut
        if chosen or not hook.hosts
    )


def read_hooks(section: Entry, inventory: Inventory) -> Hooks:
    """Return the hooks of a playbook. Raises InputError."""
    section.section(WHEN)
    return Hooks(
        **{
            when: tuple(_hook(item, inventory) for item in entry.items())
            for when in WHEN
            if (entry := section.get(when))
        }
    )


def _hook(entry: Entry, inventory: Inventory) -> Hook:
    table: Table = {
        "command": ("command", words),
        "hosts": ("hosts", Entry.name),
        "timeout": ("timeout_ns", duration),
        "only": ("areas", _areas),
    }
    found = fields(entry, table)
    if not found.get("command"):
        entry.fail(f"{entry.key} needs a command")
    try:
        hosts = match_hosts(found["hosts"], inventory) if "hosts" in found else []
    except InputError as error:
        entry.fail(str(error))
    return Hook(
        command=tuple(found["command"]),
        hosts=tuple(hosts),
        areas=tuple(found.get("areas", ())),
        timeout_s=found.get("timeout_ns", _TIMEOUT_NS) / 1e9,
    )


def _areas(entry: Entry) -> list[str]:
    """Return the parts that a name or a list of names says."""
    items = entry.items() if isinstance(entry.value, list) else [entry]
    return [item.choice(*PARTS) for item in items]


def run_hooks(
    hooks: Sequence[Hook], when: str, inventory: Inventory, shells: Shells, folder: Path
) -> None:
    """Run hooks one after the other. Raises SwarmopsError for the first that fails."""
    for number, hook in enumerate(hooks, 1):
        for where, reason in _failures(hook, inventory, shells, folder):
            raise SwarmopsError(f"hook {number} of {when} failed {where}: {reason}")


def _failures(
    hook: Hook, inventory: Inventory, shells: Shells, folder: Path
) -> Iterator[tuple[str, str]]:
    if not hook.hosts:
        try:
            done = subprocess.run(
                hook.command,
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=hook.timeout_s,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            yield "on this machine", str(error)
            return
        if done.returncode != 0:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            yield "on this machine", "".join(last) or f"exit status {done.returncode}"
        return
    targets = [target_of(inventory.hosts[name]) for name in hook.hosts]
    ran = run_on(
        targets,
        lambda target: shells.of(target).run(list(hook.command), timeout_s=hook.timeout_s),
    )
    for name, failed in ran.errors.items():
        yield f"on {name}", failed.reason if isinstance(failed, HostError) else str(failed)
    for name, result in ran.results.items():
        if not result.ok:
            yield f"on {name}", result.last_line
