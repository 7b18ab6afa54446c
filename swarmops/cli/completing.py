"""Names that the shell offers while a command line is typed: nodes, services, hosts, groups.

Called by the shell through click's completion. Live names come from the swarm, within a moment;
where it doesn't answer in time, those it told last. It never prints and never fails.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

WITHIN_S = 2.0


def nodes(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of nodes that begin so."""
    del parameter
    return _matching(_live(context, "nodes", _node_names), incomplete)


def services(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of services that begin so."""
    del parameter
    return _matching(_live(context, "services", _service_names), incomplete)


def hosts(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the inventory's hosts and groups that begin so, after a pattern's first parts."""
    del parameter
    with contextlib.suppress(Exception):
        from swarmops.fleet.inventory import read_inventory

        choice = _choice(context)
        named = context.params.get("inventory")
        path = named if isinstance(named, Path) else choice.inventory
        if path is None:
            return []
        read = read_inventory(path)
        cut = max(incomplete.rfind(mark) for mark in ":,&!") + 1
        names = _matching([*read.hosts, *read.groups], incomplete[cut:])
        return [incomplete[:cut] + name for name in names]
    return []


def _node_names(swarm: Any) -> Iterable[str]:
    from swarmops.fleet.names import host_of

    return [host_of(node) for node in swarm.client.nodes()]


def _service_names(swarm: Any) -> Iterable[str]:
    return [str(service.spec.name) for service in swarm.client.services()]


def _choice(context: click.Context) -> Any:
    from swarmops.cli.settings import Settings
    from swarmops.fleet.current import choose

    return choose(context.ensure_object(Settings).inventory, os.environ)


def _live(context: click.Context, kind: str, ask: Callable[[Any], Iterable[str]]) -> list[str]:
    """Ask the swarm in a thread that is left alone when it takes too long."""
    found: list[str] = []
    done = threading.Event()

    def look() -> None:
        with contextlib.suppress(Exception):
            from swarmops.fleet.access import Swarm

            with Swarm(_choice(context)) as swarm:
                found.extend(ask(swarm))
                done.set()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(WITHIN_S)
    kept = _file(kind)
    if not done.is_set():
        with contextlib.suppress(OSError):
            return kept.read_text().split()
        return []
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept.write_text("\n".join(found))
    return found


def _file(kind: str) -> Path:
    from swarmops.fleet.paths import state_dir

    return state_dir() / f"names-of-{kind}"


def _matching(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})
