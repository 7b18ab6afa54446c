"""``/services``: create, list, look at, change, roll back, remove.

Writes a service's spec, its previous one and what a new spec resets; orchestrators do the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from aiohttp import web
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.api import body, errors, query, registry_auth, removing, render, resolve
from swarmops.api.control import NodeControl
from swarmops.api.gate import manager_store
from swarmops.api.names import random_name
from swarmops.api.references import check_references, warnings_of, with_network_ids
from swarmops.api.reply import nothing, reply, reply_list
from swarmops.api.route import Route, node_of
from swarmops.api.servicespec import DEFAULT_RUNTIME, filled, in_stored_order
from swarmops.api.validate import check_service
from swarmops.errors import ApiError, InputError
from swarmops.model import defaults
from swarmops.model.answers import Created, Updated
from swarmops.model.base import given
from swarmops.model.ids import new_id
from swarmops.model.object import ObjectVersion
from swarmops.model.service import (
    JobStatus,
    Service,
    ServiceInternal,
    ServiceSpec,
    UpdateStatus,
)
from swarmops.store import OutOfSequence, Store, Transaction

FILTERS = frozenset(("id", "name", "label", "mode", "runtime"))


async def create(request: web.Request) -> web.StreamResponse:
    """``POST /services/create``."""
    node = node_of(request)
    wanted = await body.read(request, ServiceSpec)
    auth = registry_auth.sent(request)
    store = await manager_store(node)
    if not given(wanted.name, ""):
        wanted = replace(wanted, name=random_name(node.rng))
    check_service(wanted)
    _check_extensions(node, wanted)
    spec = with_network_ids(filled(wanted), store)
    check_references(spec, "", store)
    service = Service(
        id=new_id(node.rng),
        spec=spec,
        job_status=JobStatus(last_execution=node.now()) if _is_job(spec) else UNSET,
        internal=ServiceInternal(registry_auth=auth),
    )
    tx = Transaction()
    tx.put(service)
    await store.commit(tx)
    warnings = warnings_of(spec, store)
    return reply(Created(id=service.id, warnings=warnings or UNSET), status=201)


async def list_services(request: web.Request) -> web.StreamResponse:
    """``GET /services``, with counts of tasks where ``status`` is asked for."""
    filters = query.filters_of(request, FILTERS)
    status = query.flag(request, "status")
    store = await manager_store(node_of(request))

    def shown(service: Service) -> Service:
        return render.with_status(service, store) if status else render.service(service)

    return await reply_list(request, list(store.services), _wanted(filters), shown)


async def inspect(request: web.Request) -> web.StreamResponse:
    """``GET /services/{id}``."""
    insert_defaults = query.flag(request, "insertDefaults")
    store = await manager_store(node_of(request))
    service = resolve.service(store, request.match_info["id"])
    return reply(render.service(service, insert_defaults=insert_defaults))


async def update(request: web.Request) -> web.StreamResponse:
    """``POST /services/{id}/update``: a new spec, or with ``rollback=previous`` the former one.

    Other than Docker's it takes ``rebalance=true``, with the spec as it is.
    """
    node = node_of(request)
    wanted = await body.read(request, ServiceSpec)
    version = query.version_of(request, "service")
    rollback = request.query.get("rollback", "")
    if rollback not in ("", "none", "previous"):
        raise ApiError(500, f"unrecognized rollback option {rollback}")
    store = await manager_store(node)
    stored = resolve.service(store, request.match_info["id"])
    if rollback == "previous":
        changed = registry_auth.swapped(rolled_back(stored, node.now()))
    else:
        changed = updated(stored, wanted, store, node.now())
        _check_extensions(node, wanted)
        changed = registry_auth.with_new(stored, changed, request)
    if query.flag(request, "rebalance"):
        changed = rebalancing(stored, changed, node.now())
    if version != stored.version.index:
        raise OutOfSequence
    if changed != stored:
        tx = Transaction()
        tx.put(changed, expected=version)
        await store.commit(tx)
    return reply(Updated(warnings=warnings_of(changed.spec, store) or None))


async def remove(request: web.Request) -> web.StreamResponse:
    """``DELETE /services/{id}``: at once; the tasks follow."""
    store = await manager_store(node_of(request))
    stored = resolve.service(store, request.match_info["id"])
    await removing.remove(store, stored, find=resolve.service, transaction=removing.deletion)
    return nothing()


def updated(stored: Service, wanted: ServiceSpec, store: Store, now: datetime) -> Service:
    """Return the service with a new spec. Raises ApiError for one that it can't have."""
    if not given(wanted.name, ""):
        wanted = replace(wanted, name=stored.spec.name)
    check_service(wanted)
    spec = with_network_ids(filled(wanted), store)
    if spec.name != stored.spec.name:
        raise errors.rpc("Unimplemented", errors.RENAME)
    if defaults.mode_name(spec) != defaults.mode_name(stored.spec):
        raise errors.rpc("Unimplemented", errors.MODE_CHANGE)
    check_references(spec, stored.id, store)
    spec = in_stored_order(spec, stored.spec)
    if spec == stored.spec:
        # Nothing to roll out, and the way back stays what it was. A job runs again all the same.
        return _next_run(stored, now)
    return _next_run(
        replace(stored, spec=spec, previous_spec=stored.spec, update_status=UNSET), now
    )


def rolled_back(stored: Service, now: datetime) -> Service:
    """Return the service with its present and its previous spec swapped. Raises ApiError 400."""
    previous = given(stored.previous_spec, None)
    if previous is None:
        raise errors.rpc("FailedPrecondition", f"service {stored.id} does not have a previous spec")
    # A job has no update that could come to an end: its next run is of the former spec.
    status = (
        UNSET
        if _is_job(stored.spec)
        else UpdateStatus(
            state="rollback_started", started_at=now, message="manually requested rollback"
        )
    )
    return _next_run(
        replace(stored, spec=previous, previous_spec=stored.spec, update_status=status), now
    )


def rebalancing(stored: Service, changed: Service, now: datetime) -> Service:
    """Return the service that shall move tasks until they are spread evenly. Raises ApiError 400.

    ``changed`` is what the request makes of it besides.
    """
    if defaults.mode_name(stored.spec) != "replicated":
        raise errors.rpc("InvalidArgument", "only replicated services can be rebalanced")
    if changed != stored:
        raise errors.rpc("InvalidArgument", "a rebalance can't change the service as well")
    internal = given(stored.internal, ServiceInternal())
    state = given(given(stored.update_status, UpdateStatus()).state, "completed")
    if not state.endswith("completed") and internal.rebalance != internal.spec_version:
        raise errors.rpc(
            "FailedPrecondition",
            f"service {given(stored.spec.name, stored.id)} can't be rebalanced while its update is "
            f"{state}",
        )
    return replace(
        stored,
        update_status=UpdateStatus(state="updating", started_at=now, message="rebalancing"),
        internal=replace(internal, rebalance=internal.spec_version),
    )


def _next_run(service: Service, now: datetime) -> Service:
    """Make a job run again, as every update does."""
    if not _is_job(service.spec):
        return service
    last = given(service.job_status, JobStatus()).job_iteration
    iteration = ObjectVersion(index=last.index + 1)
    return replace(service, job_status=JobStatus(job_iteration=iteration, last_execution=now))


def _is_job(spec: ServiceSpec) -> bool:
    return defaults.mode_name(spec) in render.JOB_MODES


def _check_extensions(node: NodeControl, spec: ServiceSpec) -> None:
    """Refuse labels of ours that mean nothing. Raises ApiError 400."""
    if node.insight is None:
        return
    try:
        node.insight.check_service(spec)
    except InputError as error:
        raise errors.bad_request(str(error)) from None


def _wanted(filters: query.Filters) -> Callable[[Service], bool]:
    def keep(service: Service) -> bool:
        runtime = given(defaults.task_spec(service.spec).runtime, DEFAULT_RUNTIME)
        return (
            query.begins(filters, "id", service.id)
            and query.begins(filters, "name", given(service.spec.name, ""))
            and query.labelled(filters, "label", given(service.spec.labels, {}))
            and query.equals(filters, "mode", defaults.mode_name(service.spec))
            and query.equals(filters, "runtime", runtime)
        )

    return keep


ROUTES = [
    Route("POST", "/services/create", create),
    Route("GET", "/services", list_services),
    Route("GET", "/services/{id}", inspect),
    Route("POST", "/services/{id}/update", update),
    Route("DELETE", "/services/{id}", remove),
]
