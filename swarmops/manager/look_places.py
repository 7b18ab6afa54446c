"""Parts of a look at a service: which places there shall be.

Slots of a replicated service, nodes of a global one, what may begin of a job's present run.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from datetime import datetime
from itertools import count

from swarmops.manager import global_, jobs, replicated
from swarmops.manager.look import Look, Slices, spans
from swarmops.manager.places import Places, live
from swarmops.model.defaults import mode_name, replicas
from swarmops.model.service import Service
from swarmops.model.task import Task, TaskState
from swarmops.store import Store


def removed(look: Look) -> Slices:
    """Let all tasks of a service that is gone go."""
    for task in list(look.store.tasks.by_service(look.id)):
        look.remove([task])
        yield from look.pause()


def in_use(
    service: Service, place: str, tasks: Sequence[Task], store: Store, now: datetime
) -> bool:
    """Whether a place counts; ``tasks`` in the order in which they were made."""
    if mode_name(service.spec) == "global" and not global_.keeps(service, store.nodes.get(place)):
        return False
    return bool(tasks) and replicated.in_use(tasks, now)


def slots(look: Look, service: Service, places: Places) -> Generator[None, None, Places]:
    """Add or remove slots of a replicated service; return those that stay."""
    used = yield from _used_slots(look, places)
    wanted = replicas(service.spec)
    missing = wanted - len(used)
    numbers = count(1)
    while missing > 0:
        slot = str(next(numbers))
        if slot not in used:
            look.fill(service, slot)
            missing -= 1
        yield from look.pause()
    surplus = len(used) - wanted
    gone = replicated.victims(used) if surplus > 0 else iter(())
    doomed: list[str] = []
    while len(doomed) < surplus:
        found = next(gone)
        if found is not None:
            doomed.append(found)
        yield from look.pause()
    for slot in doomed:
        del used[slot]
        look.remove(look.store.tasks.by_place(service.id, slot))
        yield from look.pause()
    for free in spans([slot for slot in places if slot not in used]):
        for slot in free:
            if int(slot) > wanted:
                look.remove(look.store.tasks.by_place(service.id, slot))
        yield from look.pause(len(free))
    return used


def _used_slots(look: Look, places: Places) -> Generator[None, None, Places]:
    used: Places = {}
    for span in spans(list(places.items())):
        for slot, tasks in span:
            if replicated.in_use(tasks, look.turn.now):
                used[slot] = tasks
        yield from look.pause(len(span))
    return used


def nodes(look: Look, service: Service, places: Places) -> Generator[None, None, Places]:
    """Add tasks for nodes that lack a global service's, shut down those that don't qualify."""
    used: Places = {}
    for node_id, tasks in places.items():
        if in_use(service, node_id, tasks, look.store, look.turn.now):
            used[node_id] = tasks
        elif not global_.keeps(service, look.store.nodes.get(node_id)):
            for task in tasks:
                if live(task):
                    look.desire(task, TaskState.SHUTDOWN)
        yield from look.pause()
    yield from _fill_nodes(look, service, used)
    return used


def job(look: Look, service: Service, places: Places) -> Slices:
    """Begin what may begin of a job's present run; its places go on by themselves."""
    if mode_name(service.spec) == "global-job":
        begun = set()
        for node_id, tasks in places.items():
            keep = global_.keeps(service, look.store.nodes.get(node_id))
            if not keep or jobs.needs_tending(service, tasks, look.turn.now):
                look.turn.step.again.append((service.id, node_id))
            if jobs.state(service, tasks, look.turn.now) != "open":
                begun.add(node_id)
            yield from look.pause()
        yield from _fill_nodes(look, service, begun)
        return
    found = jobs.JobSurvey(service)
    for slot, tasks in places.items():
        found.add(slot, tasks, look.turn.now)
        yield from look.pause()
    look.turn.step.again.extend((service.id, slot) for slot in found.tend)
    for slot in found.surplus:
        look.remove(look.store.tasks.by_place(service.id, slot))
        yield from look.pause()
    for slot in found.free():
        look.fill(service, slot)
        yield from look.pause()


def _fill_nodes(look: Look, service: Service, used: Iterable[str]) -> Slices:
    have = set(used)
    for node in list(look.store.nodes):
        if node.id not in have and global_.wants(service, look.store.nodes.get(node.id)):
            look.fill(service, node.id)
        yield from look.pause()
