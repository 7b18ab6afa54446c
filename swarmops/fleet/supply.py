"""Doing the steps about networks, secrets and configs: what services find when they come.

Called by ``actions``. Names carry the version, so making one twice is noticed by its name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from swarmops.client import Client
from swarmops.errors import ApiError, SwarmopsError
from swarmops.fleet.managers import Managers
from swarmops.fleet.materials import Material
from swarmops.fleet.playbook import Playbook
from swarmops.fleet.steps import Step, StepKind
from swarmops.fleet.versions import new_version
from swarmops.fleet.waiting import Patience, wait_until
from swarmops.model import defaults
from swarmops.model.base import given
from swarmops.model.secret import ConfigSpec, SecretSpec
from swarmops.model.task import Task

UNUSED_PATIENCE = Patience(bound_s=60)
_SALT_BYTES = 16
_NOT_FOUND, _CONFLICT, _BAD_REQUEST = 404, 409, 400


class Supply:
    """Makes what the playbook keeps. ``kinds`` are the steps that it does."""

    def __init__(
        self, playbook: Playbook, managers: Managers, patience: Patience = UNUSED_PATIENCE
    ) -> None:
        self._playbook = playbook
        self._managers = managers
        self._patience = patience
        self.kinds: dict[StepKind, Callable[[Step], bool]] = {
            StepKind.CREATE_NETWORK: self._create_network,
            StepKind.CREATE_SECRET: self._create_version,
            StepKind.CREATE_CONFIG: self._create_version,
            StepKind.REMOVE_SECRET: self._remove_version,
            StepKind.REMOVE_CONFIG: self._remove_version,
        }

    def _create_network(self, step: Step) -> bool:
        wanted = self._playbook.networks[step.target]
        return self._made(lambda manager: manager.create_network(wanted))

    def _create_version(self, step: Step) -> bool:
        kind = "secret" if step.kind is StepKind.CREATE_SECRET else "config"
        material = self._material(kind, step.target)
        salt = os.urandom(_SALT_BYTES)
        spec = new_version(material, step.target, self._playbook.name, salt)
        return self._made(lambda manager: _create(manager, spec))

    def _material(self, kind: str, target: str) -> Material:
        base = target.rpartition(".v")[0]
        for material in self._playbook.materials:
            if (material.kind, material.name) == (kind, base):
                return material
        raise SwarmopsError(f"the playbook has no {kind} '{base}' any more: plan again")

    def _made(self, make: Callable[[Client], object]) -> bool:
        """Make it; one that is there was made by this request, its answer lost, or by another."""
        try:
            self._managers.ask(make)
        except ApiError as error:
            if error.status != _CONFLICT:
                raise
            return False
        return True

    def _remove_version(self, step: Step) -> bool:
        """Remove it once no task needs it; one that stays in use is left to the next apply."""

        def lack() -> str:
            tasks = self._managers.ask(
                lambda manager: manager.tasks({"desired-state": ["running"]})
            )
            return f"{step.target} is still used" if step.service_id in _used(tasks) else ""

        if wait_until(lack, self._patience):
            return False
        remove = _remove_secret if step.kind is StepKind.REMOVE_SECRET else _remove_config
        try:
            self._managers.ask(lambda manager: remove(manager, step.service_id))
        except ApiError as error:
            if error.status not in {_NOT_FOUND, _BAD_REQUEST}:  # gone, or in use after all
                raise
            return False
        return True


def _create(manager: Client, spec: SecretSpec | ConfigSpec) -> str:
    if isinstance(spec, SecretSpec):
        return manager.create_secret(spec)
    return manager.create_config(spec)


def _remove_secret(manager: Client, object_id: str) -> None:
    manager.remove_secret(object_id)


def _remove_config(manager: Client, object_id: str) -> None:
    manager.remove_config(object_id)


def _used(tasks: Iterable[Task]) -> set[str]:
    """Return the IDs of secrets and configs that tasks use."""
    found: set[str] = set()
    for task in tasks:
        container = defaults.container_spec(task.spec)
        found |= {given(one.secret_id, "") for one in given(container.secrets, [])}
        found |= {given(one.config_id, "") for one in given(container.configs, [])}
    return found
