"""One look at a service as a whole: which places there shall be, and which get the new spec.

Made by the orchestrator, which gives it a turn in each of its steps until it is done. A look that
changed something is followed by another one. While an update goes on the look then stands by: what
it found is kept, and of the places only those are looked at again in which something changed.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Iterable

from swarmops.manager import look_places, rebalance
from swarmops.manager.look import Look, Slices, Turn, spans
from swarmops.manager.look_update import UpdateLook, move
from swarmops.manager.places import Places, is_job, made
from swarmops.manager.update_survey import updating
from swarmops.model.defaults import mode_name
from swarmops.model.service import Service
from swarmops.store import Store, place_of

CHANGED = "changed"
"""In a place's stead: look at the places of the service in which something changed."""
SEEN = 4
"""What it costs to judge a place of a service under update, in places that are passed."""


class ServiceLook(Look):
    """A look that is going on, or stands by."""

    def __init__(self, store: Store, service_id: str, rng: random.Random) -> None:
        super().__init__(store, service_id, rng)
        self._service = store.services.get(service_id)
        self._before = 0
        self._update: UpdateLook | None = None
        self._used: set[str] = set()
        self._work = self._all(self._service) if self._service else look_places.removed(self)
        self.changed = False
        """Whether it wrote anything."""
        self.stands_by = False
        """Whether it can go on with what changes from here on."""

    def go_on(self, turn: Turn) -> bool:
        """Use one turn; return whether the look is over.

        It ends early where the service is not what it was when the look began.
        """
        self.turn = turn
        self._before = len(turn.step.tx)  # the step has other services' changes too
        if self.store.services.get(self.id) is not self._service:
            self.changed, self.stands_by = True, False
            return True
        over = next(self._work, self) is self
        self.changed = self.changed or len(turn.step.tx) > self._before
        return over

    def glance(self, places: Iterable[str]) -> None:
        """Begin to look again, at these places alone; for a look that stands by."""
        self.changed = False
        if self._service is not None and self._update is not None:
            self._work = self._some(self._service, self._update, list(places))

    def _places(self, service: Service) -> Generator[None, None, Places]:
        places: Places = {}
        for span in spans(list(self.store.tasks.by_service(service.id))):
            for task in span:
                places.setdefault(place_of(task), []).append(task)
            yield from self.pause(len(span))
        for tasks in places.values():
            if len(tasks) > 1:
                tasks.sort(key=made)
                yield from self.pause()
        return places

    def _all(self, service: Service) -> Slices:
        places = yield from self._places(service)
        if is_job(service):
            yield from look_places.job(self, service, places)
            return
        is_global = mode_name(service.spec) == "global"
        find = look_places.nodes if is_global else look_places.slots
        kept = yield from find(self, service, places)
        if self.changed or len(self.turn.step.tx) > self._before:
            return
        update = UpdateLook(self, service)
        for seen in spans(list(kept.items())):
            for place, tasks in seen:
                update.see(place, tasks)
            yield from self.pause(SEEN * len(seen))
        goes_on = updating(service) and not rebalance.wished(service)
        yield from update.decide((service.id, CHANGED if goes_on else ""))
        if goes_on:
            self._update, self._used, self.stands_by = update, set(kept), True
        elif rebalance.wanted(service) and update.is_idle:
            yield from move(self, service, kept)

    def _some(self, service: Service, update: UpdateLook, places: list[str]) -> Slices:
        for place in places:
            tasks = sorted(self.store.tasks.by_place(service.id, place), key=made)
            used = look_places.in_use(service, place, tasks, self.store, self.turn.now)
            if used is not (place in self._used):
                # A place came or went, which only a look at all of them can judge.
                self.changed, self.stands_by = True, False
                return
            if used:
                update.see(place, tasks)
            yield from self.pause(SEEN)
        yield from update.decide((service.id, CHANGED))
