"""Who refers to whom: services name secrets, configs and networks, which stay while they do. Pure.

Asked where a service is stored and where such an object is removed, so that of two managers that do
both at once the later is refused, on every replica alike; and by the API's border, which says it
earlier.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from swarmops.model import defaults
from swarmops.model.base import given
from swarmops.model.network import Network, is_ingress
from swarmops.model.secret import Config, Secret
from swarmops.model.service import Service, ServiceSpec
from swarmops.store.errors import FileInUse, IngressMissing, NetworkInUse, ReferenceMissing
from swarmops.store.networking import ingress_of, needs_ingress, networks_of
from swarmops.store.table import Table
from swarmops.store.tables import Tables


def secrets_of(spec: ServiceSpec) -> dict[str, str]:
    """Return the secrets that a service names: ID → name."""
    files = given(defaults.container_spec(defaults.task_spec(spec)).secrets, None) or []
    return {one.secret_id: one.secret_name for one in files}


def configs_of(spec: ServiceSpec) -> dict[str, str]:
    """Return the configs that a service names: ID → name."""
    files = given(defaults.container_spec(defaults.task_spec(spec)).configs, None) or []
    return {one.config_id: one.config_name for one in files}


def check_names(new: ServiceSpec, old: ServiceSpec | None, tables: Tables) -> None:
    """Raise ReferenceMissing for what a spec names, and its former one didn't, and is not there."""
    former = old if old is not None else ServiceSpec()
    _check("secret", secrets_of(new), secrets_of(former), tables.secrets)
    _check("config", configs_of(new), configs_of(former), tables.configs)
    for network_id in networks_of(new):
        if network_id not in tables.networks and network_id not in networks_of(former):
            raise ReferenceMissing(f"network {network_id} not found")
    if needs_ingress(new) and not needs_ingress(former) and ingress_of(tables.networks) is None:
        raise IngressMissing


def _check(
    kind: str, named: Mapping[str, str], before: Mapping[str, str], table: Table[Any]
) -> None:
    names = [name for one, name in named.items() if one not in before and one not in table]
    if names:
        raise ReferenceMissing(f"{kind}{_plural(names)} not found: {', '.join(names)}")


def check_unused(obj: object, services: Iterable[Service]) -> None:
    """Raise FileInUse or NetworkInUse, in Docker's words, if a service needs the object."""
    match obj:
        case Secret():
            _check_file("secret", obj, (s for s in services if obj.id in secrets_of(s.spec)))
        case Config():
            _check_file("config", obj, (s for s in services if obj.id in configs_of(s.spec)))
        case Network() if is_ingress(obj):
            for service in services:
                if needs_ingress(service.spec):
                    raise NetworkInUse(
                        f"ingress network cannot be removed because service {service.id} "
                        "depends on it"
                    )
        case Network():
            for service in services:
                if obj.id in networks_of(service.spec):
                    raise NetworkInUse(f"network {obj.id} is in use by service {service.id}")


def _check_file(kind: str, file: Secret | Config, users: Iterable[Service]) -> None:
    names = sorted(given(service.spec.name, "") for service in users)
    if names:
        raise FileInUse(
            f"{kind} '{given(file.spec.name, '')}' is in use by the following "
            f"service{_plural(names)}: {', '.join(names)}"
        )


def _plural(names: list[str]) -> str:
    return "s" if len(names) > 1 else ""
