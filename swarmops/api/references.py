"""What a service spec refers to: ports that others hold, secrets, configs and networks that exist.

Called by ``swarmops.api.services`` with the local replica; reads only. Raises ``ApiError`` with
Docker's texts.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET
from msgspec.structs import replace

from swarmops.api.errors import invalid
from swarmops.errors import ApiError
from swarmops.model import defaults
from swarmops.model.base import given
from swarmops.model.secret import Config, Secret
from swarmops.model.service import (
    ConfigReference,
    NetworkAttachmentConfig,
    SecretReference,
    ServiceSpec,
)
from swarmops.store import NamedTable, Store
from swarmops.store.ports import conflict, published

Reference = SecretReference | ConfigReference


def check_references(spec: ServiceSpec, service_id: str, store: Store) -> None:
    """Raise ApiError for ports that are taken and for secrets or configs that don't exist."""
    check_ports(spec, service_id, store)
    container = defaults.container_spec(defaults.task_spec(spec))
    _check_files("secret", given(container.secrets, []), store.secrets)
    _check_files("config", given(container.configs, []), store.configs)


def check_ports(spec: ServiceSpec, service_id: str, store: Store) -> None:
    """Refuse a published port that another service has; two in host mode may share one."""
    if text := conflict(published(defaults.ports(spec)), service_id, store.services):
        raise invalid(text)


def _check_files(
    kind: str, references: Sequence[Reference], table: NamedTable[Secret] | NamedTable[Config]
) -> None:
    targets: dict[str, str] = {}
    missing: list[str] = []
    for reference in references:
        object_id, name = _identity(reference)
        runtime = given(reference.runtime, None) if isinstance(reference, ConfigReference) else None
        file = given(reference.file, None)
        if not object_id or not name:
            raise invalid(f"malformed {kind} reference")
        if file is None and runtime is None:
            raise invalid(f"malformed {kind} reference, no target provided")
        stored = table.get(object_id)
        if stored is None or given(stored.spec.name, "") != name:
            missing.append(name)
        if file is None:
            continue
        if file.name in targets:
            raise invalid(
                f"{kind} references '{targets[file.name]}' and '{name}' "
                f"have a conflicting target: '{file.name}'"
            )
        targets[file.name] = name
    if missing:
        plural = "s" if len(missing) > 1 else ""
        raise invalid(f"{kind}{plural} not found: {', '.join(missing)}")


def _identity(reference: Reference) -> tuple[str, str]:
    if isinstance(reference, SecretReference):
        return reference.secret_id, reference.secret_name
    return reference.config_id, reference.config_name


def with_network_ids(spec: ServiceSpec, store: Store) -> ServiceSpec:
    """Replace network names by IDs. Raises ApiError 500, as Docker does, for unknown ones."""
    template = defaults.task_spec(spec)
    changes: dict[str, object] = {}
    if given(template.networks, None):
        networks = _resolved(given(template.networks, []), store)
        changes["task_template"] = replace(template, networks=networks)
    if given(spec.networks, None):
        changes["networks"] = _resolved(given(spec.networks, []), store)
    return replace(spec, **changes) if changes else spec


def _resolved(
    attachments: Sequence[NetworkAttachmentConfig], store: Store
) -> list[NetworkAttachmentConfig]:
    return [replace(one, target=_network_id(one, store)) for one in attachments]


def _network_id(attachment: NetworkAttachmentConfig, store: Store) -> str:
    target = "" if attachment.target is UNSET else attachment.target
    found = store.networks.get(target) or store.networks.named(target)
    if found is None:
        raise ApiError(500, f"network {target} not found")
    return found.id
