"""The change that scales a service. Called by ``swarmops service scale``; pure."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from swarmops.errors import InputError
from swarmops.model import defaults
from swarmops.model.base import given
from swarmops.model.service import ReplicatedJobMode, ReplicatedMode, ServiceMode, ServiceSpec


def scaled(count: int) -> Callable[[ServiceSpec], ServiceSpec]:
    """Return what sets a spec's number of tasks. It raises InputError for a global service."""

    def change(spec: ServiceSpec) -> ServiceSpec:
        mode = defaults.mode_name(spec)
        if mode == "replicated":
            wanted = ServiceMode(replicated=ReplicatedMode(replicas=count))
        elif mode == "replicated-job":
            job = given(given(spec.mode, ServiceMode()).replicated_job, ReplicatedJobMode())
            wanted = ServiceMode(
                replicated_job=msgspec.structs.replace(job, total_completions=count)
            )
        else:
            raise InputError(
                f"{spec.name} is a {mode} service: one task on each node, which can't be scaled"
            )
        return msgspec.structs.replace(spec, mode=wanted)

    return change
