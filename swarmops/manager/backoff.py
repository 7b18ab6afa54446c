"""How long a replacement waits: the restart policy's delay, or with a backoff ever longer. Pure."""

from __future__ import annotations

from msgspec import UNSET

from swarmops.manager import extensions
from swarmops.manager.places import service_version, spec_version
from swarmops.model.base import given
from swarmops.model.defaults import restart_delay_s
from swarmops.model.service import Service
from swarmops.model.task import Task, TaskInternal

LEAST_S = 1.0
"""The least delay where a backoff is wanted: 0 would not grow."""


def delay_s(service: Service, old: Task) -> float:
    """Return the policy's delay, or with a backoff the delay before ``old``, grown by its factor.

    A task that ran for longer than the longest delay, or that was not itself a replacement of the
    same spec, begins anew. What the last delay was, its task says: no history is needed for it.
    """
    least_s = restart_delay_s(old.spec)
    wanted = extensions.read(service.spec)
    if wanted.backoff <= 1:
        return least_s
    least_s = max(least_s, LEAST_S)
    if spec_version(old) != service_version(service):
        return least_s
    internal = given(old.internal, TaskInternal())
    if internal.restart_after is UNSET:
        return least_s
    if internal.running_at is not UNSET and internal.ended_at is not UNSET:
        ran_s = (internal.ended_at - internal.running_at).total_seconds()
        if ran_s > max(wanted.backoff_max_s, least_s):
            return least_s
    before_s = (internal.restart_after - old.created_at).total_seconds()
    if before_s < least_s:
        return least_s
    return max(min(before_s * wanted.backoff, wanted.backoff_max_s), least_s)
