"""Metrics: what a scrape finds, and that a node which nobody scrapes pays nothing."""

from __future__ import annotations

import subprocess
import sys

from prometheus_client.parser import text_string_to_metric_families

from swarmops.model.figures import Figures, LoopFigures
from swarmops.model.task import Task, TaskState, TaskStatus
from tests.unit.api.conftest import Api
from tests.unit.api.fake_node import NoInsight

FIGURES = Figures(
    leads=True,
    leader_known=True,
    disk_refuses=False,
    term=3,
    commit_index=20,
    applied_index=19,
    voters=3,
    learners=1,
    reachable=2,
    loops={
        "scheduler": LoopFigures(runs=True, steps=4, step_s=0.5, changes=9),
        "reaper": LoopFigures(runs=False),
    },
    sessions=7,
    log_streams=2,
    events=11,
)


class Insight(NoInsight):
    """Only figures."""

    def figures(self) -> Figures:
        """Return the same ones."""
        return FIGURES


async def scrape(api: Api) -> dict[tuple[str, str], float]:
    """Return each sample's value by name and label values, in their labels' order."""
    answer = await api.ask("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, ",".join(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.body)
        for sample in family.samples
    }


async def test_a_manager_s_numbers(manager: Api):
    """Raft, store, tasks by state, loops, sessions, answers and how long they took."""
    manager.node.insight = Insight()
    states = [TaskState.RUNNING, TaskState.RUNNING, TaskState.FAILED]
    await manager.node.put(
        *(Task(id=f"t{n}", status=TaskStatus(state=state)) for n, state in enumerate(states))
    )
    waits = TaskStatus(state=TaskState.PENDING, err="no suitable node")
    yet_to_be_looked_at = TaskStatus(state=TaskState.PENDING)
    await manager.node.put(Task(id="t8", status=waits), Task(id="t9", status=yet_to_be_looked_at))
    await manager.get("/v1.41/services")
    await manager.get("/services")
    await manager.ask("GET", "/services/nope")
    await manager.ask("GET", "/nowhere")
    found = await scrape(manager)
    assert found["swarmops_raft_term", ""] == 3
    assert found["swarmops_raft_leader", ""] == 1
    assert found["swarmops_raft_members", "learner"] == 1
    assert found["swarmops_loop_running", "scheduler"] == 1
    assert found["swarmops_loop_running", "reaper"] == 0
    assert found["swarmops_loop_step_seconds_count", "scheduler"] == 4
    assert found["swarmops_loop_step_seconds_sum", "scheduler"] == 0.5
    assert found["swarmops_loop_changes_total", "scheduler"] == 9
    assert found["swarmops_tasks_without_node", "pending"] == 1
    assert found["swarmops_sessions", ""] == 7
    assert found["swarmops_events_total", ""] == 11
    assert found["swarmops_tasks", "running"] == 2
    assert found["swarmops_tasks", "failed"] == 1
    assert found["swarmops_tasks", "pending"] == 2
    assert found["swarmops_tasks_desired", "running"] == 5
    assert found["swarmops_store_objects", "tasks"] == 5
    assert found["swarmops_store_estimated_bytes", "tasks"] > 100
    assert found["swarmops_api_request_seconds_count", "GET,/services"] == 2
    assert found["swarmops_api_request_seconds_bucket", "+Inf,GET,/services"] == 2
    assert found["swarmops_api_answers_total", "GET,/services/{id},404"] == 1
    assert found["process_resident_memory_bytes", ""] > 1e6
    assert not [labels for _, labels in found if "nowhere" in labels]


async def test_a_worker_has_numbers_of_its_own(api: Api):
    """Of the process and its API."""
    await api.node.become_worker()
    found = await scrape(api)
    assert found["process_open_fds", ""] > 0
    assert ("swarmops_tasks", "running") not in found


def test_a_node_that_nobody_scrapes_never_loads_the_library():
    """A worker's memory is for its tasks."""
    program = "import sys, swarmops.api; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    assert "prometheus_client" not in loaded
