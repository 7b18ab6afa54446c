"""Parts of a look at a service: which of its places get a task of the new spec, or another node."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from msgspec import UNSET

from swarmops.manager import global_, rebalance, restarts, updates
from swarmops.manager.look import Key, Look, Slices
from swarmops.manager.places import Places, live, made, may_run, new_task, unfit
from swarmops.manager.update_survey import UpdateSurvey, still_dirty, unfinished
from swarmops.model.base import given
from swarmops.model.defaults import mode_name
from swarmops.model.service import Service, UpdateStatus
from swarmops.model.task import Task, TaskState
from swarmops.store import Store

log = structlog.get_logger(__name__)


class UpdateLook:
    """What an update does next, by what is seen of its places: of all, then of what changes."""

    def __init__(self, look: Look, service: Service) -> None:
        self._look = look
        self._service = service
        self._global = mode_name(service.spec) == "global"
        self._survey = UpdateSurvey(service, look.store.nodes)
        self._tend: list[str] = []
        self.is_idle = True
        """Whether the last decision changed nothing."""

    def see(self, place: str, tasks: Sequence[Task]) -> None:
        """Take note of a place in use, in place of what was seen of it before."""
        look = self._look
        # As in Docker: a paused node keeps the task that it has until it is active again.
        if not self._global or global_.takes_new(look.store.nodes.get(place)):
            self._survey.add(place, tasks, look.turn.now)
        if _needs_tending(look.store, tasks):
            self._tend.append(place)

    def decide(self, wake: Key) -> Slices:
        """Replace the tasks of the places whose turn it is. ``wake``: what to ask for later."""
        look, service, survey = self._look, self._service, self._survey
        update = updates.UpdateStep()
        if survey.dirty or not rebalance.wished(service):
            update = updates.plan(service, survey, look.turn.now)
        for place in update.replace:
            self._replace(place, start_first=update.start_first)
            yield from look.pause()
        if update.service is not None:
            look.turn.step.tx.put(update.service)
            _tell(update.service)
        if update.wake is not None:
            look.turn.step.wake[wake] = update.wake
        replaced = set(update.replace)
        look.turn.step.again.extend((look.id, each) for each in self._tend if each not in replaced)
        self._tend.clear()
        self.is_idle = not update.replace and update.service is None

    def _replace(self, place: str, *, start_first: bool) -> None:
        """Put a task of the new spec into the place: after the old one stops, or before."""
        look, service, store = self._look, self._service, self._look.store
        tasks = sorted(store.tasks.by_place(service.id, place), key=made)
        if not still_dirty(service, tasks, store.nodes):
            return
        wanted = [task for task in tasks if live(task)]
        staying = [restarts.most_advanced(wanted)] if wanted and start_first else []
        for task in wanted:
            if task not in staying:
                look.desire(task, TaskState.SHUTDOWN)
        busy = not staying and any(may_run(task, store.nodes) for task in tasks)
        desired = TaskState.READY if busy else TaskState.RUNNING
        look.turn.step.tx.put(new_task(service, place, look.rng, look.turn.now, desired=desired))


def move(look: Look, service: Service, kept: Places) -> Slices:
    """Let one task of a service that has nothing else to do move to a better node."""
    wished = rebalance.wished(service)
    if mode_name(service.spec) != "replicated" or (unfinished(service) and not wished):
        return
    found = yield from look.sliced(rebalance.next_move(service, kept, look.store, look.turn.now))
    turn = look.turn
    if found is not None:
        place, node_id = found
        wanted = [t for t in look.store.tasks.by_place(service.id, place) if live(t)]
        if wanted == [task for task in kept[place] if live(task)]:
            [old] = wanted
            turn.step.tx.put(
                new_task(service, place, look.rng, turn.now, node_id=node_id, moves=old.id)
            )
    elif wished:
        ended = yield from look.sliced(rebalance.fulfilled(service, kept, turn.now))
        if ended is not None:
            look.turn.step.tx.put(ended)
        else:
            look.turn.step.wake[service.id, ""] = rebalance.give_up_at(service, turn.now)
    elif (later := rebalance.retry_at(kept, turn.now)) is not None:
        turn.step.wake[service.id, ""] = later


def _tell(service: Service) -> None:
    """Log how far an update has come, and why no further."""
    status = given(service.update_status, UpdateStatus())
    log.info(
        "an update has come so far",
        state=given(status.state, ""),
        service=service.id,
        name=given(service.spec.name, ""),
        reason=given(status.message, ""),
    )


def _needs_tending(store: Store, tasks: Sequence[Task]) -> bool:
    """Whether a place may have something to do besides what its own changes tell."""
    return any(
        live(task)
        and (
            task.status.state.terminal
            or task.desired_state is TaskState.READY
            or (task.node_id is not UNSET and unfit(store.nodes.get(task.node_id)))
        )
        for task in tasks
    )
