"""Observe the fleet: every host in parallel, one round trip each, the swarm's answer among them.

Called by plan, apply, status and destroy. Changes nothing. A host that can't be reached or used
becomes a view with its reason; what to make of that is the planner's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from swarmops.backends.base import Artifact, Backend, Facts, Missing
from swarmops.errors import HostError, SwarmopsError
from swarmops.fleet.facts import gather
from swarmops.fleet.inventory import Inventory
from swarmops.fleet.observation import HostView, Observation, build_observation, host_view
from swarmops.fleet.one_machine import refused
from swarmops.fleet.pool import FORKS, run_on
from swarmops.fleet.shells import Shells
from swarmops.fleet.target import Target
from swarmops.fleet.targets import target_of


class Looked(msgspec.Struct, frozen=True):
    """One host's facts, what it shall have, and what of that it lacks."""

    facts: Facts
    artifact: Artifact
    missing: tuple[Missing, ...]


class Seen(msgspec.Struct, frozen=True):
    """The observation that plans are made from, and per reached host what acting on it needs."""

    observation: Observation
    looked: dict[str, Looked]


def observe(
    inventory: Inventory,
    backend: Backend,
    shells: Shells,
    *,
    forks: int = FORKS,
    also: Sequence[str] = (),
    on_host: Callable[[str, str], None] = lambda host, error: None,  # noqa: ARG005 - its meaning
) -> Seen:
    """Look at every host. ``on_host`` hears of each as it ends, with its error or ''.

    ``also``: see ``gather``.
    """

    def look(target: Target) -> Looked:
        facts = gather(shells.of(target), target.place, backend.home, also=also)
        artifact = backend.artifact(facts, target.place)
        return Looked(facts, artifact, backend.missing(facts, target.place, artifact))

    targets = {name: target_of(host) for name, host in inventory.hosts.items()}
    outcome = run_on(
        targets.values(),
        look,
        forks=forks,
        on_done=lambda name, result: on_host(
            name, reason_of(result) if isinstance(result, SwarmopsError) else ""
        ),
    )
    errors = {name: reason_of(error) for name, error in outcome.errors.items()}
    errors |= refused({name: one.facts for name, one in outcome.results.items()}, targets)
    views = []
    for name in inventory.hosts:
        if name in errors:
            views.append(HostView(name=name, error=errors[name]))
            continue
        looked = outcome.results[name]
        try:
            views.append(host_view(name, looked.facts, looked.missing))
        except msgspec.ValidationError as error:
            reason = f"its API's answer is not understood: {error}"
            views.append(HostView(name=name, error=reason))
    answers = {
        name: looked.facts.api
        for name, looked in outcome.results.items()
        if looked.facts.api is not None
    }
    return Seen(build_observation(views, answers), outcome.results)


def reason_of(error: SwarmopsError) -> str:
    """Return an error's text without the name of its host."""
    return error.reason if isinstance(error, HostError) else str(error)
