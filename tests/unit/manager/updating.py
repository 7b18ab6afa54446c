"""Updates of the service ``web`` as the API makes them, and what is seen of them."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from swarmops.model.base import given
from swarmops.model.service import (
    ContainerSpec,
    RestartPolicy,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
    UpdateStatus,
)
from swarmops.model.swarm import OrchestrationConfig
from swarmops.model.task import Task, TaskState
from swarmops.store import Transaction
from tests.sim.manager_lab import Lab

SECOND = 1_000_000_000


def template(arg: str) -> TaskSpec:
    """Return a task template that is told apart by an argument."""
    return TaskSpec(
        container_spec=ContainerSpec(image="host", args=[arg]),
        restart_policy=RestartPolicy(delay=SECOND),
    )


async def update(swarm: Lab, arg: str, **config: object) -> None:
    """Update service ``web`` as the API does."""
    wanted = UpdateConfig(**config)  # type: ignore[arg-type]

    def change(spec: ServiceSpec) -> ServiceSpec:
        return replace(
            spec, task_template=template(arg), update_config=wanted, rollback_config=wanted
        )

    await swarm.change("web", change)


def status(swarm: Lab) -> UpdateStatus:
    """Return what the service says of its update."""
    return given(swarm.store.services["web"].update_status, UpdateStatus())


def running(swarm: Lab, arg: str) -> list[Task]:
    """Return the running tasks with this argument."""
    return [
        task
        for task in swarm.store.tasks.by_service("web")
        if task.status.state is TaskState.RUNNING
        and task.desired_state is TaskState.RUNNING
        and task.spec == template(arg)
    ]


async def with_old(swarm: Lab, replicas: int = 4) -> None:
    """Run the service with argument ``old``."""
    await swarm.create("web", replicas, template("old"))
    await swarm.until(lambda: len(running(swarm, "old")) == replicas)


def break_new(swarm: Lab) -> None:
    """Let every task with argument ``new`` fail as soon as it runs."""
    for agent in swarm.agents.values():
        agent.fails = lambda task: task.spec == template("new")


async def keep_history(swarm: Lab, limit: int) -> None:
    """Set the swarm's history limit."""
    cluster = swarm.store.cluster
    assert cluster is not None
    orchestration = OrchestrationConfig(task_history_retention_limit=limit)
    tx = Transaction()
    tx.put(replace(cluster, spec=replace(cluster.spec, orchestration=orchestration)))
    await swarm.store.commit(tx)


async def update_with(swarm: Lab, change: Callable[[TaskSpec], TaskSpec], **config: object) -> None:
    """Update what service ``web`` runs, with this config."""
    wanted = UpdateConfig(**config)  # type: ignore[arg-type]

    def both(spec: ServiceSpec) -> ServiceSpec:
        template = given(spec.task_template, TaskSpec())
        return replace(
            spec, task_template=change(template), update_config=wanted, rollback_config=wanted
        )

    await swarm.change("web", both)
