"""``/tasks``: list and look at. Tasks are never written here: orchestrators make them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from aiohttp import web
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.api import query, render, resolve
from swarmops.api.gate import manager_store
from swarmops.api.reply import reply, reply_list
from swarmops.api.route import Route, node_of
from swarmops.model import defaults
from swarmops.model.base import given
from swarmops.model.service import Service, ServiceInternal, TaskSpec
from swarmops.model.task import Task, TaskInternal, TaskState
from swarmops.store import Store

FILTERS = frozenset(
    ("id", "name", "label", "service", "node", "desired-state", "_up-to-date", "runtime")
)
DEFAULT_RUNTIME = "container"


async def list_tasks(request: web.Request) -> web.StreamResponse:
    """``GET /tasks``."""
    filters = query.filters_of(request, FILTERS)
    store = await manager_store(node_of(request))
    candidates, keep = _wanted(filters, store)
    return await reply_list(request, candidates, keep, lambda task: render.task(task, store))


async def inspect(request: web.Request) -> web.StreamResponse:
    """``GET /tasks/{id}``."""
    store = await manager_store(node_of(request))
    return reply(render.task(resolve.task(store, request.match_info["id"]), store))


def _wanted(filters: query.Filters, store: Store) -> tuple[Sequence[Task], Callable[[Task], bool]]:
    """Return the tasks to look at, by the best index, and which of them to keep."""
    service_ids = _ids(resolve.service(store, text).id for text in filters.get("service", ()))
    node_ids = _ids(resolve.node(store, text).id for text in filters.get("node", ()))
    states = query.known(
        filters, "desired-state", (one.value for one in TaskState), "desired-state"
    )

    def keep(task: Task) -> bool:
        return (
            (not service_ids or task.service_id in service_ids)
            and (not node_ids or task.node_id in node_ids)
            and (states is None or task.desired_state.value in states)
            and query.begins(filters, "id", task.id)
            and ("name" not in filters or query.begins(filters, "name", name(task, store)))
            and ("label" not in filters or query.labelled(filters, "label", _labels(task, store)))
            and ("_up-to-date" not in filters or up_to_date(task, store))
            and query.equals(filters, "runtime", given(task.spec.runtime, DEFAULT_RUNTIME))
        )

    if service_ids:
        return [task for one in service_ids for task in store.tasks.by_service(one)], keep
    if node_ids:
        return [task for one in node_ids for task in store.tasks.by_node(one)], keep
    return list(store.tasks), keep


def _ids(found: Iterable[str]) -> dict[str, None]:
    """Return the IDs once each, in the order in which they were asked for."""
    return dict.fromkeys(found)


def name(task: Task, store: Store) -> str:
    """Return the name that the CLI shows: ``service.slot``, or ``service.node`` without a slot."""
    service = store.services.get(task.service_id)
    internal = given(task.internal, TaskInternal())
    prefix = given(service.spec.name, "") if service else internal.service_name
    return f"{prefix}.{given(task.slot, 0) or given(task.node_id, '')}"


def up_to_date(task: Task, store: Store) -> bool:
    """Whether the task is what the service's present spec would make.

    A change of the number of replicas, or of where tasks may run, leaves a task as good as new.
    """
    service = store.services.get(task.service_id)
    if service is None:
        return False
    wanted = given(service.internal, ServiceInternal()).spec_version
    return given(task.internal, TaskInternal()).spec_version == wanted or _same_work(task, service)


def _same_work(task: Task, service: Service) -> bool:
    return _work(task.spec) == _work(defaults.task_spec(service.spec))


def _work(spec: TaskSpec) -> TaskSpec:
    return replace(spec, placement=UNSET)


def _labels(task: Task, store: Store) -> dict[str, str]:
    service = store.services.get(task.service_id)
    return given(service.spec.labels, {}) if service else task.labels


ROUTES = [
    Route("GET", "/tasks", list_tasks),
    Route("GET", "/tasks/{id}", inspect),
]
