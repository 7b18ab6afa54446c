"""Secrets and configs in a service's spec: from the names that people write to the swarm's IDs.

Called by apply just before a service is created or changed. Reads the API, changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from swarmops.errors import SwarmopsError
from swarmops.fleet.managers import Managers
from swarmops.fleet.nearest import did_you_mean
from swarmops.model import defaults
from swarmops.model.base import given
from swarmops.model.service import ConfigReference, SecretReference, ServiceSpec


def with_ids(spec: ServiceSpec, managers: Managers) -> ServiceSpec:
    """Return the spec with every reference's ID. Raises SwarmopsError for an unknown name."""
    task = defaults.task_spec(spec)
    container = defaults.container_spec(task)
    secrets: list[SecretReference] = given(container.secrets, [])
    configs: list[ConfigReference] = given(container.configs, [])
    if secrets:
        ids = {s.spec.name: s.id for s in managers.ask(lambda manager: manager.secrets())}
        found = [
            msgspec.structs.replace(r, secret_id=_id("secret", r.secret_name, ids)) for r in secrets
        ]
        container = msgspec.structs.replace(container, secrets=found)
    if configs:
        ids = {c.spec.name: c.id for c in managers.ask(lambda manager: manager.configs())}
        named = [
            msgspec.structs.replace(r, config_id=_id("config", r.config_name, ids)) for r in configs
        ]
        container = msgspec.structs.replace(container, configs=named)
    if not secrets and not configs:
        return spec
    return msgspec.structs.replace(
        spec, task_template=msgspec.structs.replace(task, container_spec=container)
    )


def _id(what: str, name: str, ids: Mapping[Any, str]) -> str:
    if name not in ids:
        near = did_you_mean(name, (str(known) for known in ids))
        raise SwarmopsError(f"the swarm has no {what} '{name}': {near}")
    return ids[name]
