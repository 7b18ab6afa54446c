"""What one agent has been told to run: turns changes of tasks into the frames that tell it.

One for each session. Reads the store, sends nothing itself. An agent gets the tasks that are bound
to its node and assigned, those that it shall shut down included, until they are deleted; secrets
and configs come with the first task that uses them and go with the last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from msgspec.structs import replace

from swarmops.model.base import given
from swarmops.model.defaults import container_spec, log_driver
from swarmops.model.secret import Config, Secret
from swarmops.model.service import ServiceInternal
from swarmops.model.session import Assignments
from swarmops.model.task import Task, TaskState
from swarmops.store import Store


def concerns_agent(old: Task | None, new: Task | None) -> bool:
    """Whether a task's change is news for its agent: not what the agent itself reported."""
    if old is None or new is None:
        return True
    return (
        old.desired_state is not new.desired_state
        or old.node_id != new.node_id
        or old.status.state.rank < TaskState.ASSIGNED.rank <= new.status.state.rank
        or (old.spec is not new.spec and old.spec != new.spec)
        or old.networks_attachments != new.networks_attachments
        or (new.status.state.terminal and not old.status.state.terminal and bool(_uses(old)))
    )


class AssignmentSet:
    """The tasks and dependencies that the agent knows of."""

    def __init__(self, store: Store, node_id: str) -> None:
        self._store = store
        self._node_id = node_id
        self._tasks: dict[str, frozenset[str]] = {}
        """Tasks that were sent, and the dependencies that each still needs."""
        self._users: Counter[str] = Counter()

    def complete(self) -> Assignments:
        """Return everything, as the first frame of a session."""
        self._tasks.clear()
        self._users.clear()
        tasks = [task.id for task in self._store.tasks.by_node(self._node_id)]
        return self._frame(tasks, complete=True)

    def changes(self, task_ids: Iterable[str]) -> Assignments | None:
        """Return what these tasks' changes mean to the agent, None if nothing."""
        frame = self._frame(task_ids, complete=False)
        return frame if frame.tasks or frame.removed or frame.dropped_dependencies else None

    def _frame(self, task_ids: Iterable[str], *, complete: bool) -> Assignments:
        tasks: list[Task] = []
        removed: list[str] = []
        before = set(self._users)
        for task_id in task_ids:
            task = self._store.tasks.get(task_id)
            if task is not None and self._is_assigned(task):
                tasks.append(self._with_log_driver(self._with_networks(task)))
                self._set_uses(task_id, _uses(task))
            elif task_id in self._tasks:
                removed.append(task_id)
                self._set_uses(task_id, frozenset())
                del self._tasks[task_id]
        after = set(self._users)
        secrets, configs = self._dependencies(after - before)
        live = [task for task in tasks if not task.status.state.terminal]
        auths = {task.id: self._registry_auth(task) for task in live}
        return Assignments(
            complete=complete,
            tasks=tasks,
            removed=removed,
            secrets=secrets,
            configs=configs,
            dropped_dependencies=sorted(before - after),
            registry_auths={task_id: auth for task_id, auth in auths.items() if auth},
        )

    def _registry_auth(self, task: Task) -> str:
        service = self._store.services.get(task.service_id)
        return given(service.internal, ServiceInternal()).registry_auth if service else ""

    def _is_assigned(self, task: Task) -> bool:
        bound = task.node_id == self._node_id
        return bound and task.status.state.rank >= TaskState.ASSIGNED.rank

    def _with_networks(self, task: Task) -> Task:
        """Tell the agent all of the task's networks: the store's task knows only their names."""
        attached = given(task.networks_attachments, None)
        if not attached:
            return task
        known = self._store.networks
        whole = [replace(one, network=known.get(one.network.id) or one.network) for one in attached]
        return replace(task, networks_attachments=whole)

    def _with_log_driver(self, task: Task) -> Task:
        """Where the service names no log driver, the agent is told the swarm's, if it has one."""
        cluster = self._store.cluster
        driver = log_driver(task.spec, cluster.spec) if cluster else None
        if driver is None or driver == task.spec.log_driver:
            return task
        return replace(task, spec=replace(task.spec, log_driver=driver))

    def _set_uses(self, task_id: str, uses: frozenset[str]) -> None:
        former = self._tasks.get(task_id, frozenset())
        self._tasks[task_id] = uses
        self._users.update(uses - former)
        for dropped in former - uses:
            self._users[dropped] -= 1
            if not self._users[dropped]:
                del self._users[dropped]

    def _dependencies(self, ids: set[str]) -> tuple[list[Secret], list[Config]]:
        secrets = [self._store.secrets.get(each) for each in sorted(ids)]
        configs = [self._store.configs.get(each) for each in sorted(ids)]
        return [each for each in secrets if each], [each for each in configs if each]


def _uses(task: Task) -> frozenset[str]:
    """Return the IDs of the secrets and configs that the task needs until it has ended."""
    if task.status.state.terminal:
        return frozenset()
    spec = container_spec(task.spec)
    secrets = (each.secret_id for each in given(spec.secrets, []))
    configs = (each.config_id for each in given(spec.configs, []))
    return frozenset((*secrets, *configs))
