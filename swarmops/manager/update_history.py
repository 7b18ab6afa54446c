"""What a rolling update reads from the history of a place, and the reaper therefore leaves. Pure.

All that an update knows of a place it reads from the place's tasks. Without the one that it
replaced the place would seem to be none of its own, without the first new one that showed how it
does another would be taken for the first: so these two stay while the update goes on, whatever the
swarm's history limit.
"""

from __future__ import annotations

from collections.abc import Sequence

from swarmops.manager.places import service_version, spec_version
from swarmops.manager.update_survey import first_shown, updating
from swarmops.model.service import Service
from swarmops.model.task import Task


def read_by_update(service: Service, tasks: Sequence[Task]) -> frozenset[str]:
    """Return the IDs of a place's tasks that an update must find; ``tasks``: the oldest first."""
    if not updating(service):
        return frozenset()
    version = service_version(service)
    former = [task.id for task in tasks if spec_version(task) != version]
    first = first_shown(service, tasks)
    return frozenset({*former[-1:], *([first.id] if first is not None else [])})


def update_ended(old: object, new: object) -> bool:
    """Whether a service's change is that its update goes on no more, so that it reads nothing."""
    if not isinstance(old, Service) or not isinstance(new, Service):
        return False
    return updating(old) and not updating(new)
