"""What a service spec refers to: ports that others hold, secrets, configs and networks that exist.

Called by ``swarmops.api.services`` with the local replica; reads only. Raises ``ApiError`` with
Docker's texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from msgspec.structs import replace

from swarmops.api import resolve
from swarmops.api.errors import bad_request, invalid
from swarmops.api.images import is_process_image
from swarmops.errors import ApiError
from swarmops.model import defaults
from swarmops.model.base import given
from swarmops.model.network import OVERLAY, driver_of, is_ingress, name_of
from swarmops.model.secret import Config, Secret
from swarmops.model.service import (
    ConfigReference,
    ContainerSpec,
    SecretReference,
    ServiceSpec,
)
from swarmops.store import IngressMissing, NamedTable, Store
from swarmops.store.networking import ingress_of, needs_ingress, networks_of
from swarmops.store.ports import conflict, published

Reference = SecretReference | ConfigReference


def check_references(spec: ServiceSpec, service_id: str, store: Store) -> None:
    """Raise ApiError for ports that are taken and for secrets or configs that don't exist."""
    check_ingress(spec, store)
    check_ports(spec, service_id, store)
    container = defaults.container_spec(defaults.task_spec(spec))
    _check_files("secret", given(container.secrets, []), store.secrets)
    _check_files("config", given(container.configs, []), store.configs)
    _check_credentials(container)


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
        if file is not None and runtime is not None:
            raise bad_request("invalid Config: cannot specify both File and Runtime")
        if file is None and runtime is None:
            raise invalid(f"malformed {kind} reference, no target provided")
        stored = table.get(object_id)
        if stored is None or given(stored.spec.name, "") != name:
            missing.append(name)
        if file is None:
            continue
        if not file.name:
            raise invalid(f"malformed file {kind} reference, invalid target file name provided")
        if file.name in targets:
            raise invalid(
                f"{kind} references '{targets[file.name]}' and '{name}' "
                f"have a conflicting target: '{file.name}'"
            )
        targets[file.name] = name
    if missing:
        plural = "s" if len(missing) > 1 else ""
        raise invalid(f"{kind}{plural} not found: {', '.join(missing)}")


def _check_credentials(container: ContainerSpec) -> None:
    """Refuse credentials out of a config that the service doesn't have for its runtime."""
    credentials = (given(container.privileges, None) or {}).get("CredentialSpec")
    wanted = credentials.get("Config") if isinstance(credentials, dict) else None
    runtimes = {
        reference.config_id
        for reference in given(container.configs, None) or []
        if given(reference.runtime, None) is not None
    }
    if wanted and wanted not in runtimes:
        raise invalid(
            f"CredentialSpec references config '{wanted}', but that config isn't in config "
            "references with RuntimeTarget"
        )


def _identity(reference: Reference) -> tuple[str, str]:
    if isinstance(reference, SecretReference):
        return reference.secret_id, reference.secret_name
    return reference.config_id, reference.config_name


def with_network_ids(spec: ServiceSpec, store: Store) -> ServiceSpec:
    """Replace references to networks by IDs. Raises ApiError, as Docker does, for unknown ones.

    Networks that the spec has in the older place count where its tasks name none.
    """
    template = defaults.task_spec(spec)
    named = given(template.networks, None) or given(spec.networks, None)
    if not named:
        return spec
    networks = [replace(one, target=_network_id(given(one.target, ""), store)) for one in named]
    return replace(
        spec,
        task_template=replace(template, networks=networks),
        networks=networks if given(spec.networks, None) else spec.networks,
    )


def _network_id(reference: str, store: Store) -> str:
    try:
        network = resolve.network(store, reference)
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        if reference == "none":
            raise ApiError(
                404, f"could not find the corresponding predefined swarm network: {error.message}"
            ) from None
        raise ApiError(500, error.message) from None
    if is_ingress(network):
        raise invalid(
            f'Service cannot be explicitly attached to the ingress network "{name_of(network)}"'
        )
    return network.id


def check_ingress(spec: ServiceSpec, store: Store) -> None:
    """Refuse published ports where there is no network for them."""
    if needs_ingress(spec) and ingress_of(store.networks) is None:
        raise IngressMissing


def warnings_of(spec: ServiceSpec, store: Store) -> list[str]:
    """Return what the client should know of the service's networks."""
    found = [store.networks.get(one) for one in networks_of(spec)]
    names = [name_of(one) for one in found if one is not None and driver_of(one) == OVERLAY]
    if not names:
        return []
    which = ", ".join(names)
    if is_process_image(defaults.image(defaults.task_spec(spec))):
        return [f"plain processes join no network: {which} changes nothing for them"]
    told = "reach only those on their own node: traffic of networks doesn't cross nodes yet"
    return [f"containers in {which} {told}"]
