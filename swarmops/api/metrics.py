"""``/metrics`` for Prometheus: Raft, store, loops, sessions, tasks by state, API latencies.

The client library is imported with the first request: a node that nobody scrapes, a worker most of
all, doesn't pay for it. Numbers are read as they are asked for; nothing is kept up to date between.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, cast

import msgspec
from aiohttp import web

from swarmops.api.latency import Latencies
from swarmops.api.reply import SLICE_S
from swarmops.api.route import LATENCIES, Route, node_of
from swarmops.model.base import given
from swarmops.model.task import TaskState
from swarmops.store import Store

if TYPE_CHECKING:
    from prometheus_client.core import Metric
    from prometheus_client.registry import Collector

    from swarmops.model.figures import Figures

TABLES = ("clusters", "nodes", "services", "tasks", "networks", "secrets", "configs")
SAMPLE_OBJECTS = 32
"""So many objects of a table are encoded to estimate its size."""
_encode = msgspec.msgpack.Encoder().encode


async def metrics(request: web.Request) -> web.StreamResponse:
    """``GET /metrics``."""
    from prometheus_client import (  # noqa: PLC0415 - see the module's docstring
        CollectorRegistry,
        ProcessCollector,
        generate_latest,
    )
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4  # noqa: PLC0415 - as above

    node = node_of(request)
    found = list(_of_api(request.app[LATENCIES]))
    store, insight = node.store, node.insight
    if store is not None:
        found += _of_store(store, await _states(store))
    if insight is not None:
        found += _of_manager(insight.figures())
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(cast("Collector", _Once(found)))
    return web.Response(
        body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
    )


class _Once:
    """Gives the metrics that were found."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        """Return them."""
        return self._found


async def _states(store: Store) -> dict[tuple[str, str], Counter[str]]:
    """Count tasks by what is wanted and what is seen, others getting their turn in between."""
    seen: Counter[str] = Counter({state.value: 0 for state in TaskState})
    wanted: Counter[str] = Counter()
    placeless: Counter[str] = Counter({TaskState.PENDING.value: 0})
    until = perf_counter() + SLICE_S
    for task in list(store.tasks):
        seen[task.status.state.value] += 1
        wanted[task.desired_state.value] += 1
        if task.status.state is TaskState.PENDING and given(task.status.err, ""):
            placeless[task.status.state.value] += 1
        if perf_counter() > until:
            await asyncio.sleep(0)
            until = perf_counter() + SLICE_S
    return {
        ("swarmops_tasks", "Tasks by observed state."): seen,
        ("swarmops_tasks_desired", "Tasks by desired state."): wanted,
        ("swarmops_tasks_without_node", "Tasks that no node fits."): placeless,
    }


def _of_store(store: Store, states: dict[tuple[str, str], Counter[str]]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 - as above

    objects = GaugeMetricFamily("swarmops_store_objects", "Objects stored.", labels=["table"])
    size = GaugeMetricFamily(
        "swarmops_store_estimated_bytes", "Encoded size, from a sample.", labels=["table"]
    )
    for name in TABLES:
        table = list(getattr(store, name))
        objects.add_metric([name], len(table))
        sample = table[:: max(1, len(table) // SAMPLE_OBJECTS)]
        mean = sum(len(_encode(one)) for one in sample) / len(sample) if sample else 0
        size.add_metric([name], mean * len(table))
    yield from (objects, size)
    yield _gauge("swarmops_store_applied_index", "Log entries applied here.", store.applied)
    for (name, text), counts in states.items():
        by_state = GaugeMetricFamily(name, text, labels=["state"])
        for state, count in counts.items():
            by_state.add_metric([state], count)
        yield by_state


def _of_manager(figures: Figures) -> Iterator[Metric]:
    from prometheus_client.core import (  # noqa: PLC0415 - as above
        CounterMetricFamily,
        GaugeMetricFamily,
        SummaryMetricFamily,
    )

    yield from (
        _gauge("swarmops_raft_leader", "Whether this manager leads.", figures.leads),
        _gauge("swarmops_raft_leader_known", "Whether there is a leader.", figures.leader_known),
        _gauge(
            "swarmops_raft_disk_refuses",
            "Whether the disk refuses writes: this manager neither leads nor votes.",
            figures.disk_refuses,
        ),
        _gauge("swarmops_raft_term", "Raft's term.", figures.term),
        _gauge("swarmops_raft_commit_index", "Committed log index.", figures.commit_index),
        _gauge("swarmops_raft_applied_index", "Applied log index.", figures.applied_index),
        _gauge("swarmops_raft_reachable_members", "Members that answer.", figures.reachable),
        _gauge("swarmops_sessions", "Agents whose session is here.", figures.sessions),
        _gauge("swarmops_log_streams", "Log streams of agents here.", figures.log_streams),
    )
    members = GaugeMetricFamily("swarmops_raft_members", "Members of the group.", labels=["kind"])
    members.add_metric(["voter"], figures.voters)
    members.add_metric(["learner"], figures.learners)
    loops = GaugeMetricFamily("swarmops_loop_running", "Control loops.", labels=["loop"])
    steps = SummaryMetricFamily(
        "swarmops_loop_step_seconds", "Steps of control loops.", labels=["loop"]
    )
    changes = CounterMetricFamily(
        "swarmops_loop_changes", "What control loops decided to write.", labels=["loop"]
    )
    for name, loop in figures.loops.items():
        loops.add_metric([name], loop.runs)
        if loop.steps:  # some loops don't go by steps
            steps.add_metric([name], loop.steps, loop.step_s)
            changes.add_metric([name], loop.changes)
    yield from (members, loops, steps, changes)
    yield CounterMetricFamily("swarmops_events", "Events told.", value=figures.events)


def _of_api(latencies: Latencies) -> Iterator[Metric]:
    from prometheus_client.core import (  # noqa: PLC0415 - as above
        CounterMetricFamily,
        HistogramMetricFamily,
    )

    took = HistogramMetricFamily(
        "swarmops_api_request_seconds", "Time to answer.", labels=["method", "path"]
    )
    for route, buckets, sum_s in latencies.histograms():
        took.add_metric(list(route), buckets, sum_s)
    answers = CounterMetricFamily(
        "swarmops_api_answers", "Answers.", labels=["method", "path", "status"]
    )
    for (method, path, status), count in latencies.answers.items():
        answers.add_metric([method, path, str(status)], count)
    yield from (took, answers)


def _gauge(name: str, text: str, value: float) -> Metric:
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 - as above

    return GaugeMetricFamily(name, text, value=value)


ROUTES = [Route("GET", "/metrics", metrics)]
