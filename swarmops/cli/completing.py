"""Names that the shell offers while a command line is typed, of hosts, nodes, services and more.

Called by the shell through click's completion. Static names come from the inventory, live names
from the swarm, within a moment; where it doesn't answer in time, those it told last. It never
prints, never asks and never fails.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

WITHIN_S = 2.0


Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]


def _live(kind: str, ask: Callable[[Any], Iterable[str]], *, suffix: str = "") -> Complete:
    """Return what completes names that the swarm tells; ``suffix`` comes after each."""

    def complete(
        context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        del parameter
        with contextlib.suppress(Exception):
            given = context.params.get("names") or ()
            names = set(_asked(context, kind, ask)) - set(given)
            return _items((name + suffix for name in names), incomplete)
        return []

    return complete


def _node_names(swarm: Any) -> Iterable[str]:
    from swarmops.fleet.names import host_of

    return [host_of(node) for node in swarm.client.nodes()]


def _service_names(swarm: Any) -> Iterable[str]:
    return [str(service.spec.name) for service in swarm.client.services()]


def _people(swarm: Any) -> Iterable[str]:
    return [person.name for person in swarm.client.access().people]


def _constraints(swarm: Any) -> Iterable[str]:
    """Return constraints that some node meets."""
    from swarmops.model.base import given

    found = {"node.role==manager", "node.role==worker"}
    for node in swarm.client.nodes():
        found |= {f"node.hostname=={given(node.description.hostname, '')}"}
        labels = given(node.spec.labels, {}).items()
        found |= {f"node.labels.{key}=={value}" for key, value in labels if "." not in key}
    return found


def _spreads(swarm: Any) -> Iterable[str]:
    labels = {one.partition("==")[0] for one in _constraints(swarm) if ".labels." in one}
    return {f"spread={label}" for label in labels}


nodes = _live("nodes", _node_names)
services = _live("services", _service_names)
scales = _live("services", _service_names, suffix="=")
people = _live("people", _people)
constraints = _live("constraints", _constraints)
spreads = _live("spreads", _spreads)


def hosts(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Return the inventory's hosts and groups that begin so, after a pattern's first parts."""
    del parameter
    with contextlib.suppress(Exception):
        read = _inventory(context)
        cut = max(incomplete.rfind(mark) for mark in ":,&!") + 1
        names = [*read.hosts, *read.groups]
        return _items([incomplete[:cut] + name for name in names], incomplete)
    return []


def one_host(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Return the inventory's hosts that begin so."""
    del parameter
    with contextlib.suppress(Exception):
        return _items(_inventory(context).hosts, incomplete)
    return []


def parts(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Return what ``--only`` may name, after the first of a list."""
    del context, parameter
    from swarmops.fleet.steps import AREAS

    before, comma, _ = incomplete.rpartition(",")
    named = before.split(",")
    return _items(
        [before + comma + area for area in AREAS.values() if area not in named], incomplete
    )


def backups(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Return backups, and folders that may have some."""
    del context, parameter
    from glob import escape

    from swarmops.fleet.backup_file import SUFFIX

    folder, slash, begun = incomplete.rpartition("/")
    with contextlib.suppress(OSError):
        found = sorted(Path(folder or slash or ".").glob(f"{escape(begun)}*"))
        wanted = [path for path in found if path.is_dir() or path.name.endswith(SUFFIX)]
        names = [f"{folder}{slash}{path.name}{'/' if path.is_dir() else ''}" for path in wanted]
        return _items(names, incomplete)
    return []


def contexts(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Return the Docker contexts that are ours."""
    del context, parameter
    with contextlib.suppress(Exception):
        from swarmops.fleet.docker_context import our_contexts

        return _items(our_contexts(), incomplete)
    return []


def _choice(context: click.Context) -> Any:
    from swarmops.cli.settings import Settings
    from swarmops.fleet.current import choose

    return choose(_named(context) or context.ensure_object(Settings).inventory, os.environ)


def _named(context: click.Context) -> Path | None:
    """Return the argument INVENTORY; before an option that lacks its value it is not parsed yet."""
    arguments = [one.name for one in context.command.params if isinstance(one, click.Argument)]
    if "inventory" not in arguments:
        return None
    at = arguments.index("inventory")
    return context.params.get("inventory") or (
        Path(context.args[at]) if context.args[at:] else None
    )


def _inventory(context: click.Context) -> Any:
    from swarmops.fleet.inventory import read_inventory

    return read_inventory(_choice(context).inventory)


def _asked(context: click.Context, kind: str, ask: Callable[[Any], Iterable[str]]) -> list[str]:
    """Ask the swarm in a thread that is left alone when it takes too long."""
    choice = _choice(context)
    found: list[str] = []
    done = threading.Event()

    def look() -> None:
        with contextlib.suppress(Exception):
            from swarmops.fleet.access import Swarm

            with Swarm(choice) as swarm:
                found.extend(ask(swarm))
                done.set()

    # With this thread's context: what --vault-password-file said is in it.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(look,), daemon=True)
    thread.start()
    thread.join(WITHIN_S)
    kept = _file(choice, kind)
    if not done.is_set():
        with contextlib.suppress(OSError):
            return kept.read_text().splitlines()
        return []
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept.write_text("\n".join(found))
    return found


def _file(choice: Any, kind: str) -> Path:
    """Return where the names are kept that this swarm told last."""
    from hashlib import sha256

    from swarmops.fleet.paths import state_dir

    where = choice.inventory.absolute() if choice.inventory else choice.socket
    swarm = sha256(str(where).encode())
    return state_dir() / "names" / f"{swarm.hexdigest()[:12]}-{kind}"


def _items(names: Iterable[str], incomplete: str) -> list[CompletionItem[str]]:
    return [CompletionItem(name) for name in sorted(set(names)) if name.startswith(incomplete)]
