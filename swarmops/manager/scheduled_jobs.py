"""Scheduled jobs: begins the next run of a job service when its cron schedule says so.

A control loop; a key is a service. It alone writes the job's status besides the API. Each time of
the schedule begins one run. A time that comes while a run is still going on waits for its end
(``forbid``) or ends it (``replace``). A time that was missed, or waited, for longer than the
starting deadline is left out; of several, only the latest counts. A clock that was hours ahead and
is set right makes no service wait until then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from swarmops.manager import extensions, jobs
from swarmops.manager.loop import Step
from swarmops.manager.places import by_place, is_job
from swarmops.model.base import given
from swarmops.model.object import ObjectVersion
from swarmops.model.service import JobStatus, Service
from swarmops.model.task import Task
from swarmops.store import Event, Store

CORRECTED = timedelta(hours=3)
"""A clock that is set back by no more than this repeats no time, as with Debian's cron."""
FRESH = timedelta(minutes=1)
"""After a longer step, the times count that come from then on."""


class ScheduledJobs:
    """The loop; it remembers nothing between steps."""

    tables = ("services", "tasks")

    def reset(self, store: Store) -> Iterable[str]:
        """Return every service that has a schedule."""
        return [service.id for service in store.services if _has_schedule(service)]

    def observe(self, store: Store, event: Event) -> Iterable[str]:
        """Return a scheduled service that changed, or whose task ended."""
        new = event.new
        if isinstance(new, Service):
            return [new.id] if _has_schedule(new) else ()
        if isinstance(new, Task) and new.status.state.terminal:
            service = store.services.get(new.service_id)
            return [new.service_id] if service is not None and _has_schedule(service) else ()
        return ()

    def step(self, store: Store, keys: Sequence[str], now: datetime) -> Step[str]:
        """Begin the runs that are due."""
        step: Step[str] = Step()
        for service_id in keys:
            service = store.services.get(service_id)
            if service is None or not _has_schedule(service):
                continue
            wanted = extensions.read(service.spec)
            if wanted.schedule is None:
                continue
            step.wake[service_id] = wanted.schedule.after(now)
            due = wanted.schedule.latest(now)
            late = now - due > timedelta(seconds=wanted.starting_deadline_s)
            if late or _begun(service, due, now):
                continue
            places = by_place(store.tasks.by_service(service_id))
            if wanted.overlap == "replace" or jobs.finished(service, places, store.nodes, now):
                step.tx.put(next_run(service, now))
        return step


def _begun(service: Service, due: datetime, now: datetime) -> bool:
    """Whether the run of this time has begun already."""
    last = last_run(service)
    if last - now > CORRECTED:
        return now - due > FRESH
    return due <= last


def last_run(service: Service) -> datetime:
    """Return when the present run began."""
    return given(given(service.job_status, JobStatus()).last_execution, service.created_at)


def next_run(service: Service, now: datetime) -> Service:
    """Return the service with another run begun."""
    run = given(service.job_status, JobStatus()).job_iteration.index + 1
    status = JobStatus(job_iteration=ObjectVersion(index=run), last_execution=now)
    return replace(service, job_status=status)


def _has_schedule(service: Service) -> bool:
    return is_job(service) and extensions.read(service.spec).schedule is not None
