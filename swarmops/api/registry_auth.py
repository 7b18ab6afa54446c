"""What a registry wants to see when a service's image is pulled: taken from a header, never shown.

Used by ``swarmops.api.services``. As in Docker it belongs to a spec: an update without the header
keeps it, or takes that of the previous spec, and a rollback brings the former one back.
"""

from __future__ import annotations

import base64
import json

from aiohttp import web
from msgspec.structs import replace

from swarmops.api.errors import bad_request
from swarmops.errors import ApiError
from swarmops.model.base import given
from swarmops.model.service import Service, ServiceInternal

HEADER = "X-Registry-Auth"
_SOURCES = ("", "spec", "previous-spec")


def sent(request: web.Request) -> str:
    """Return the header's value, empty without one. Raises ApiError 400 for what makes no sense."""
    value = request.headers.get(HEADER, "")
    if not value:
        return ""
    try:
        content = json.loads(base64.urlsafe_b64decode(value + "=="))
    except (ValueError, RecursionError):  # not chained: the cause would show what was sent
        content = ""
    if content is not None and not isinstance(content, dict):
        raise bad_request(f"the header {HEADER} is not base64 of a JSON object: log in again")
    return value if content else ""


def with_new(stored: Service, changed: Service, request: web.Request) -> Service:
    """Return the changed service with the credentials that the request says. Raises ApiError."""
    source = request.query.get("registryAuthFrom", "")
    if source not in _SOURCES:
        raise ApiError(500, "unsupported registryAuthFrom value")
    internal = given(changed.internal, ServiceInternal())
    auth = sent(request)
    if not auth and source == "previous-spec":
        if given(stored.previous_spec, None) is None:
            raise ApiError(500, "service does not have a previous spec")
        auth = internal.previous_registry_auth
    before = internal.registry_auth
    if changed.spec == stored.spec:
        internal = replace(internal, registry_auth=auth or before)
    else:
        internal = replace(internal, registry_auth=auth or before, previous_registry_auth=before)
    return replace(changed, internal=internal)


def swapped(service: Service) -> Service:
    """Return the service with the credentials of its previous spec, and the other way round."""
    internal = given(service.internal, ServiceInternal())
    former = internal.previous_registry_auth
    internal = replace(
        internal, registry_auth=former, previous_registry_auth=internal.registry_auth
    )
    return replace(service, internal=internal)
