"""The list of what runs on the leader, and nowhere else. The supervisor walks it both ways."""

from __future__ import annotations

import asyncio

from swarmops.manager.allocator import Allocator
from swarmops.manager.enforcer import Enforcer
from swarmops.manager.loop import LoopContext, run_loop
from swarmops.manager.nodes import watch_over_nodes
from swarmops.manager.orchestrator import Orchestrator
from swarmops.manager.orphans import Orphans
from swarmops.manager.reaper import Reaper
from swarmops.manager.roles import manage_roles
from swarmops.manager.root_rotation import RootRotations
from swarmops.manager.scheduled_jobs import ScheduledJobs
from swarmops.manager.scheduler import Scheduler
from swarmops.manager.supervisor import RunLoop

TASKS_PER_S = 20_000
"""So many are looked at by those for whom a service waits that has lost its tasks."""


async def _let_others_begin(context: LoopContext) -> None:
    """Let those go first who give services what they lack: each begins with a look at all tasks."""
    await asyncio.sleep(len(context.store.tasks) / TASKS_PER_S)


async def _allocator(context: LoopContext) -> None:
    await run_loop(Allocator(context.rng), context)


async def _orchestrator(context: LoopContext) -> None:
    await run_loop(Orchestrator(context.rng), context)


async def _scheduler(context: LoopContext) -> None:
    await run_loop(Scheduler(), context)


async def _scheduled_jobs(context: LoopContext) -> None:
    await run_loop(ScheduledJobs(), context)


async def _enforcer(context: LoopContext) -> None:
    await _let_others_begin(context)
    await run_loop(Enforcer(), context)


async def _reaper(context: LoopContext) -> None:
    await _let_others_begin(context)
    await run_loop(Reaper(), context)


async def _orphans(context: LoopContext) -> None:
    await _let_others_begin(context)
    await run_loop(Orphans(context.timing), context)


async def _root_rotation(context: LoopContext) -> None:
    await run_loop(RootRotations(context.rng), context)


LOOPS: tuple[tuple[str, RunLoop], ...] = (
    ("allocator", _allocator),
    ("orchestrator", _orchestrator),
    ("scheduler", _scheduler),
    ("scheduled jobs", _scheduled_jobs),
    ("enforcer", _enforcer),
    ("reaper", _reaper),
    ("nodes", watch_over_nodes),
    ("orphans", _orphans),
    ("roles", manage_roles),
    ("root rotation", _root_rotation),
)
