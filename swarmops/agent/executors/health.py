"""Whether a process task is healthy: Docker's rules over the results of a probe.

Called by the process executor; a container engine does this itself. ``observed`` and ``pause_s``
decide, ``watch`` waits and asks; what a probe is and how it runs comes in as a function.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from swarmops.agent.executors.base import TaskError
from swarmops.model.base import given
from swarmops.model.defaults import NANOSECONDS
from swarmops.model.service import ContainerSpec, HealthConfig

INTERVAL_S = 30.0
TIMEOUT_S = 30.0
START_INTERVAL_S = 5.0
RETRIES = 3


class Probe(msgspec.Struct, frozen=True):
    """The test of a task's health, with Docker's defaults filled in."""

    argv: list[str]
    interval_s: float = INTERVAL_S
    timeout_s: float = TIMEOUT_S
    start_period_s: float = 0.0
    start_interval_s: float = START_INTERVAL_S
    retries: int = RETRIES


class Health(msgspec.Struct, frozen=True):
    """What the probes have shown. ``up``: one has succeeded, so the start is over."""

    up: bool = False
    failures: int = 0
    unhealthy: bool = False


def probe_of(spec: ContainerSpec) -> Probe | None:
    """Return the spec's test, None if there is none. Raises ``TaskError`` for an unknown kind."""
    config = given(spec.healthcheck, HealthConfig())
    kind, *words = given(config.test, []) or ["NONE"]
    if kind in {"NONE", ""}:
        return None
    if kind not in {"CMD", "CMD-SHELL"} or not words:
        raise TaskError(f'Unknown healthcheck type "{kind}": use CMD, CMD-SHELL or NONE')
    return Probe(
        argv=words if kind == "CMD" else ["/bin/sh", "-c", words[0]],
        interval_s=_seconds(config.interval, INTERVAL_S),
        timeout_s=_seconds(config.timeout, TIMEOUT_S),
        start_period_s=_seconds(config.start_period, 0.0),
        start_interval_s=_seconds(config.start_interval, START_INTERVAL_S),
        retries=given(config.retries, 0) or RETRIES,
    )


def _seconds(duration_ns: int | msgspec.UnsetType, default_s: float) -> float:
    return (given(duration_ns, 0) / NANOSECONDS) or default_s


def observed(health: Health, probe: Probe, age_s: float, *, ok: bool) -> Health:
    """Return the health after a probe of a task of that age."""
    if ok:
        return Health(up=True)
    if not health.up and age_s < probe.start_period_s:
        return health
    failures = health.failures + 1
    return Health(up=health.up, failures=failures, unhealthy=failures >= probe.retries)


def pause_s(health: Health, probe: Probe, age_s: float) -> float:
    """Return the time until the next probe."""
    starting = not health.up and age_s < probe.start_period_s
    return probe.start_interval_s if starting else probe.interval_s


async def watch(
    probe: Probe,
    ask: Callable[[], Awaitable[bool]],
    age_s: Callable[[], float],
    enough: Callable[[Health], bool],
    health: Health,
) -> Health:
    """Probe until the health is as the caller wishes, and return it."""
    while not enough(health):
        await asyncio.sleep(pause_s(health, probe, age_s()))
        ok = await ask()
        health = observed(health, probe, age_s(), ok=ok)
    return health
