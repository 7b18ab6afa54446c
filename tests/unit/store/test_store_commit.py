"""What a transaction promises: all or nothing, versions checked, the same on every replica."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.model.base import given
from swarmops.model.node import Node
from swarmops.model.object import ObjectVersion
from swarmops.model.secret import Secret, SecretSpec
from swarmops.model.service import ContainerSpec, Service, ServiceInternal, ServiceSpec, TaskSpec
from swarmops.model.task import Task, TaskInternal, TaskState, TaskStatus
from swarmops.store import (
    AlreadyExists,
    Fenced,
    NameConflict,
    NotFound,
    OutOfSequence,
    Store,
    StoreError,
    TooLarge,
    Transaction,
    WentBackwards,
)
from tests.sim.memory_log import MemoryLog

AT = datetime(2026, 5, 4, 3, 2, 1, 500_000, tzinfo=UTC)


@pytest.fixture
def log() -> MemoryLog:
    """Return a log without delays."""
    return MemoryLog(delay_s=0)


@pytest.fixture
def store(log: MemoryLog) -> Store:
    """Return a store on that log."""
    store = Store(now=lambda: AT)
    log.attach(store)
    return store


def service(service_id: str = "s1", name: str = "web", image: str = "host") -> Service:
    """Return a service that was never stored."""
    template = TaskSpec(container_spec=ContainerSpec(image=image))
    return Service(id=service_id, spec=ServiceSpec(name=name, task_template=template))


def task(task_id: str = "t1", slot: int = 1, state: TaskState = TaskState.NEW) -> Task:
    """Return a task of service s1."""
    spec = TaskSpec(container_spec=ContainerSpec(image="host", args=["x"]))
    return Task(id=task_id, service_id="s1", slot=slot, spec=spec, status=TaskStatus(state=state))


async def put(store: Store, *objects: Service | Task | Secret | Node) -> None:
    """Commit puts of these objects."""
    tx = Transaction()
    for obj in objects:
        tx.put(obj)
    await store.commit(tx)


async def test_the_store_sets_version_and_times(store: Store) -> None:
    """A created object carries the entry's index and the proposer's time."""
    await put(store, service())
    stored = store.services["s1"]
    assert stored.version.index == store.applied == 1
    assert stored.created_at == stored.updated_at == AT
    assert given(stored.internal, ServiceInternal()).spec_version == 1


async def test_an_update_under_an_old_version_is_refused(store: Store) -> None:
    """Of two updates made from one view, the second fails and changes nothing."""
    await put(store, service())
    seen = store.services["s1"]
    await put(store, replace(seen, spec=replace(seen.spec, labels={"a": "1"})))
    with pytest.raises(OutOfSequence, match="update out of sequence"):
        await put(store, replace(seen, spec=replace(seen.spec, labels={"a": "2"})))
    assert store.services["s1"].spec.labels == {"a": "1"}


async def test_spec_version_moves_only_with_the_spec(store: Store) -> None:
    """An update that leaves the spec alone leaves the spec's version alone."""
    await put(store, service())
    await put(store, replace(store.services["s1"], update_status=None))
    assert store.services["s1"].version.index == 2
    assert given(store.services["s1"].internal, ServiceInternal()).spec_version == 1
    changed = replace(store.services["s1"], spec=replace(service().spec, labels={}))
    await put(store, changed)
    assert given(store.services["s1"].internal, ServiceInternal()).spec_version == 3


@pytest.mark.parametrize(
    ("second", "error", "text"),
    [
        (
            service("s2", "WEB"),
            NameConflict,
            "name conflicts with an existing object: service WEB already exists",
        ),
        (service("s1", "other"), AlreadyExists, "service s1 already exists"),
        (Secret(id="x2", spec=SecretSpec(name="Key")), NameConflict, "secret Key already exists"),
        (
            replace(service("s9"), version=ObjectVersion(index=1)),
            NotFound,
            "service s9 not found",
        ),
    ],
)
async def test_refusals_speak_docker(
    store: Store, second: Service | Secret, error: type[StoreError], text: str
) -> None:
    """Each refusal has its own class and Docker's words."""
    await put(store, service(), Secret(id="x1", spec=SecretSpec(name="key")))
    with pytest.raises(error) as refusal:
        await put(store, second)
    assert str(refusal.value) == text


async def test_a_refused_transaction_changes_nothing(store: Store) -> None:
    """The actions before the failing one are taken back, indexes and names included."""
    await put(store, service())
    tx = Transaction()
    tx.put(task())
    tx.delete(store.services["s1"])
    tx.put(service("s1b", "web"))
    tx.put(service("s2", "WEB"))
    with store.watch() as watch:
        with pytest.raises(NameConflict):
            await store.commit(tx)
        assert watch.take() == ([], False)
    named = store.services.named("web")
    assert named is not None
    assert named.id == "s1"
    assert not store.tasks.by_service("s1")
    assert not store.tasks.unassigned()


async def test_a_partial_transaction_reports_what_failed(store: Store) -> None:
    """With ``partial`` the passing actions stay, and the failing ones are named."""
    tx = Transaction(partial=True)
    tx.put(service())
    tx.put(service("s2", "web"))
    tx.put(service("s3", "api"))
    failures = await store.commit(tx)
    assert [(failure.action, type(failure.error)) for failure in failures] == [(1, NameConflict)]
    assert {row.id for row in store.services} == {"s1", "s3"}


async def test_a_name_is_free_again_after_its_object_is_gone(store: Store) -> None:
    """Within one transaction too: delete and create under the same name."""
    await put(store, service())
    tx = Transaction()
    tx.delete(store.services["s1"])
    tx.put(service("s2"))
    await store.commit(tx)
    named = store.services.named("Web")
    assert named is not None
    assert named.id == "s2"


async def test_replicas_agree(log: MemoryLog, store: Store) -> None:
    """A second replica that applies the same entries holds equal objects."""
    await put(store, service(), task(), Node(id="n1"))
    tx = Transaction(partial=True)
    tx.patch_task("t1", node_id="n1", status=TaskStatus(state=TaskState.ASSIGNED))
    tx.patch_task("gone", desired_state=TaskState.SHUTDOWN)
    await store.commit(tx)
    other = Store(now=lambda: AT)
    log.attach(other)
    for name in ("services", "tasks", "nodes"):
        assert list(getattr(other, name)) == list(getattr(store, name))


async def test_updates_of_one_object_from_two_managers_do_not_get_lost(log: MemoryLog) -> None:
    """``modify`` begins again on a fresh view, so that both changes are in."""
    log.delay_s = 0.001
    stores = [Store(now=lambda: AT), Store(now=lambda: AT)]
    for each in stores:
        log.attach(each)
    await put(stores[0], service())

    def label(key: str) -> Callable[[Service], Service]:
        def change(old: Service) -> Service:
            labels = {**given(old.spec.labels, {}), key: "1"}
            return replace(old, spec=replace(old.spec, labels=labels))

        return change

    await asyncio.gather(
        *(each.modify(each.services, "s1", label(f"l{i}")) for i, each in enumerate(stores))
    )
    assert stores[0].services["s1"].spec.labels == {"l0": "1", "l1": "1"}
    assert stores[1].services["s1"] == stores[0].services["s1"]


async def test_modify_of_a_missing_object_says_so(store: Store) -> None:
    """There is nothing to change, and the error names what was looked for."""
    with pytest.raises(NotFound, match="node n9 not found"):
        await store.modify(store.nodes, "n9", lambda node: node)


async def test_a_transaction_over_the_limit_is_not_sent(log: MemoryLog, store: Store) -> None:
    """1.5 MiB is refused in Docker's words, before anything is proposed."""
    big = Secret(id="x", spec=SecretSpec(name="x", data="a" * 1_600_000))
    with pytest.raises(TooLarge, match=r"^raft: raft message is too large and can't be sent$"):
        await put(store, big)
    assert not log.entries


async def test_batches_keep_all_actions_in_order() -> None:
    """Splitting a bulk loses and reorders nothing."""
    tx = Transaction(partial=True)
    for number in range(450):
        tx.patch_task(f"t{number}", desired_state=TaskState.SHUTDOWN)
    batches = list(tx.batches())
    assert [len(batch) for batch in batches] == [200, 200, 50]
    assert all(batch.partial for batch in batches)


async def test_nothing_to_do_costs_no_entry(log: MemoryLog, store: Store) -> None:
    """An empty transaction is not proposed."""
    assert await store.commit(Transaction()) == []
    assert not log.entries


async def test_a_former_leaders_write_is_fenced_off(log: MemoryLog, store: Store) -> None:
    """Once another manager has seized the lead, what the old one's loops send changes nothing."""
    other = Store(now=lambda: AT)
    log.attach(other)
    old_fence = await store.seize()
    tx = Transaction()
    tx.put(service())
    await store.commit(tx, fence=old_fence)
    new_fence = await other.seize()
    late = Transaction(partial=True)
    late.put(service("s2", "late"))
    with pytest.raises(Fenced):
        await store.commit(late, fence=old_fence)
    assert await other.commit(late, fence=new_fence) == []
    assert {row.id for row in store.services} == {"s1", "s2"}


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({"status": TaskStatus(state=TaskState.NEW)}, (TaskState.RUNNING, TaskState.RUNNING)),
        ({"status": TaskStatus(state=TaskState.FAILED)}, (TaskState.FAILED, TaskState.RUNNING)),
        ({"desired_state": TaskState.READY}, (TaskState.RUNNING, TaskState.RUNNING)),
        ({"desired_state": TaskState.SHUTDOWN}, (TaskState.RUNNING, TaskState.SHUTDOWN)),
    ],
)
async def test_tasks_only_go_forward(
    store: Store, patch: dict[str, object], expected: tuple[TaskState, TaskState]
) -> None:
    """A patch that would take a state back is dropped, one that moves on is kept."""
    await put(store, service(), task(state=TaskState.RUNNING))
    tx = Transaction()
    tx.patch_task("t1", **patch)  # type: ignore[arg-type]
    await store.commit(tx)
    stored = store.tasks["t1"]
    assert (stored.status.state, stored.desired_state) == expected


async def test_a_put_that_takes_a_task_back_is_refused(store: Store) -> None:
    """Even under the right version no task goes back or moves to another node."""
    await put(store, service(), Node(id="n1"), Node(id="n2"), task(state=TaskState.RUNNING))
    with pytest.raises(WentBackwards):
        await put(store, replace(store.tasks["t1"], status=TaskStatus(state=TaskState.NEW)))
    await put(store, replace(store.tasks["t1"], node_id="n1"))
    with pytest.raises(WentBackwards):
        await put(store, replace(store.tasks["t1"], node_id="n2"))
    tx = Transaction()
    tx.patch_task("t1", node_id="n2")
    with pytest.raises(WentBackwards):
        await store.commit(tx)


async def test_indexes_follow_every_change(store: Store) -> None:
    """By service, node, slot and waiting for the scheduler: each lookup matches the rows."""
    await put(store, service(), Node(id="n1"), task("t1", 1), task("t2", 2))
    assert {row.id for row in store.tasks.unassigned()} == {"t1", "t2"}
    tx = Transaction()
    tx.patch_task("t1", node_id="n1", status=TaskStatus(state=TaskState.ASSIGNED))
    tx.patch_task("t2", desired_state=TaskState.REMOVE)
    await store.commit(tx)
    assert not store.tasks.unassigned()
    assert [row.id for row in store.tasks.by_node("n1")] == ["t1"]
    assert [row.id for row in store.tasks.by_slot("s1", 2)] == ["t2"]
    tx = Transaction()
    tx.delete(store.tasks["t1"])
    await store.commit(tx)
    assert not store.tasks.by_node("n1")
    assert [row.id for row in store.tasks.by_service("s1")] == ["t2"]


async def test_tasks_of_a_service_share_one_spec(log: MemoryLog, store: Store) -> None:
    """However they come in, equal specs are one object in memory, and one in the entry."""
    await put(store, service(), *(task(f"t{i}", i) for i in range(100)))
    specs = {id(row.spec) for row in store.tasks}
    assert len(specs) == 1
    moved = replace(store.tasks["t1"], status=TaskStatus(state=TaskState.PENDING))
    await put(store, moved, *(replace(row, labels={}) for row in store.tasks if row.id != "t1"))
    assert {id(row.spec) for row in store.tasks} == specs
    assert log.entries[-1].count(b"ContainerSpec") == 1


async def test_the_store_notes_when_a_task_ran_and_ended(store: Store) -> None:
    """By the swarm's clock, each once, whatever is reported later."""
    await put(store, service(), task())
    for state in (TaskState.RUNNING, TaskState.RUNNING, TaskState.FAILED):
        tx = Transaction()
        tx.patch_task("t1", status=TaskStatus(state=state))
        await store.commit(tx)
    internal = given(store.tasks["t1"].internal, TaskInternal())
    assert internal.running_at == internal.ended_at == AT


async def test_a_tasks_absent_slot_stays_absent(store: Store) -> None:
    """Absent fields come back absent, not as null or zero."""
    await put(store, service(), replace(task(), slot=UNSET))
    assert store.tasks["t1"].slot is UNSET
    assert store.tasks["t1"].node_id is UNSET
