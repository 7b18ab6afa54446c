"""Services over HTTP: what comes back is what was sent, and updates, rollbacks and jobs behave."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from swarmops.model.node import NodeState
from swarmops.model.object import ObjectVersion
from swarmops.model.service import Service, ServiceInternal, UpdateStatus
from swarmops.model.task import Task, TaskInternal, TaskState, TaskStatus
from swarmops.store import Transaction
from tests.unit.api.conftest import Api
from tests.unit.api.fake_node import NoInsight

WEB: dict[str, Any] = {
    "Name": "web",
    "Labels": {"a": "b"},
    "TaskTemplate": {
        "ContainerSpec": {"Image": "busybox:1", "Args": ["sleep", "9"], "Init": False},
        "Resources": {"Limits": {}, "Reservations": {}},
        "Placement": {},
        "ForceUpdate": 0,
    },
    "Mode": {"Replicated": {"Replicas": 2}},
    "EndpointSpec": {"Mode": "vip"},
}


def web(**changes: Any) -> dict[str, Any]:
    """Return the spec with top-level changes."""
    return WEB | changes


async def create(api: Api, spec: dict[str, Any]) -> str:
    """Create a service; return its ID."""
    answer = await api.ask("POST", "/services/create", spec)
    assert answer.status == 201, answer
    return str(answer.body["ID"])


async def update(api: Api, service_id: str, spec: dict[str, Any], more: str = "") -> dict[str, Any]:
    """Update a service at its present version; return it as it then is."""
    index = (await api.get(f"/services/{service_id}"))["Version"]["Index"]
    answer = await api.ask("POST", f"/services/{service_id}/update?version={index}{more}", spec)
    assert (answer.status, answer.body) == (200, {"Warnings": None})
    shown: dict[str, Any] = await api.get(f"/services/{service_id}")
    return shown


def stored(api: Api, service_id: str) -> Service:
    """Return the service with its hidden fields."""
    assert api.node.store is not None
    return api.node.store.services[service_id]


async def test_a_spec_comes_back_as_it_was_sent(manager: Api):
    """Only the fields that Docker adds are added."""
    service_id = await create(manager, WEB)
    shown = await manager.get(f"/services/{service_id}")
    template = WEB["TaskTemplate"]
    assert shown["Spec"] == WEB | {
        "TaskTemplate": template
        | {
            "ContainerSpec": template["ContainerSpec"] | {"Isolation": "default"},
            "Runtime": "container",
        }
    }
    assert shown["Endpoint"] == {"Spec": {}}
    assert shown["Version"]["Index"] > 0
    assert "internal" not in str(shown).lower()
    assert "PreviousSpec" not in shown


async def test_what_is_left_out_gets_dockers_defaults_only_where_docker_stores_them(manager: Api):
    """No mode is one replica, an update config gets its failure action, no name a random one."""
    spec = {
        "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}},
        "UpdateConfig": {"Parallelism": 2},
    }
    shown = await manager.get(f"/services/{await create(manager, spec)}")
    assert shown["Spec"]["Mode"] == {"Replicated": {"Replicas": 1}}
    assert shown["Spec"]["UpdateConfig"] == {
        "Parallelism": 2,
        "FailureAction": "pause",
        "MaxFailureRatio": 0,
        "Order": "stop-first",
    }
    assert shown["Spec"]["Labels"] == {}
    assert shown["Spec"]["Name"]
    assert "RestartPolicy" not in shown["Spec"]["TaskTemplate"]


async def test_insert_defaults_says_what_absent_fields_mean(manager: Api):
    """With insertDefaults the spec is complete, and the stored one stays as sent."""
    service_id = await create(manager, WEB)
    shown = await manager.get(f"/services/{service_id}?insertDefaults=true")
    template = shown["Spec"]["TaskTemplate"]
    assert template["ContainerSpec"]["StopGracePeriod"] == 10_000_000_000
    assert template["RestartPolicy"] == {
        "Condition": "any",
        "Delay": 5_000_000_000,
        "MaxAttempts": 0,
    }
    config = {
        "Parallelism": 1,
        "FailureAction": "pause",
        "Monitor": 5_000_000_000,
        "MaxFailureRatio": 0,
        "Order": "stop-first",
    }
    assert shown["Spec"]["UpdateConfig"] == shown["Spec"]["RollbackConfig"] == config
    bare = await manager.get(f"/services/{service_id}?insertDefaults=false")
    assert "UpdateConfig" not in bare["Spec"]


@pytest.mark.parametrize(
    ("label", "value", "wanted"),
    [
        ("swarmops.schedule", "every day", "a cron expression like 30 4 * * *"),
        ("swarmops.schedule", "30 4 * * *", "only a job runs by a schedule"),
        ("swarmops.schedule.overlap", "allow", "forbid or replace"),
        ("swarmops.schedule.starting-deadline", "soon", "a duration like 90s or 10m"),
        ("swarmops.restart.backoff", "0.5", "a number from 1 to 100"),
        ("swarmops.restart.backoff-max", "60", "a duration like 90s or 10m"),
        ("swarmops.update.progress-deadline", "never", "a duration like 90s or 10m"),
        ("swarmops.rebalance", "yes", "true or false"),
        ("swarmops.affinity", "db", "service==NAME or service!=NAME"),
        ("swarmops.anti-affinity", "node==x", "service==NAME or service!=NAME"),
    ],
)
async def test_labels_beyond_dockers_that_mean_nothing_are_refused(
    manager: Api, label: str, value: str, wanted: str
):
    """With 400 and one sentence that names the label, on create as on update."""
    manager.node.insight = NoInsight()
    service_id = await create(manager, WEB)
    index = (await manager.get(f"/services/{service_id}"))["Version"]["Index"]
    bad = web(Labels={label: value})
    for path in ("/services/create", f"/services/{service_id}/update?version={index}"):
        answer = await manager.ask("POST", path, bad)
        assert answer.status == 400
        assert answer.message.startswith(f"label {label}: ")
        assert wanted in answer.message
        assert "\n" not in answer.message
    assert (await manager.get(f"/services/{service_id}"))["Version"]["Index"] == index


@pytest.mark.parametrize("image", ["host", "host:latest"])
async def test_the_process_image_is_stored_without_a_tag(manager: Api, image: str):
    """The docker CLI tags every bare name; `host` is no image and has no tags."""
    spec = {"Name": "p", "TaskTemplate": {"ContainerSpec": {"Image": image}}}
    service_id = await create(manager, spec)
    shown = await manager.get(f"/services/{service_id}")
    assert shown["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] == "host"
    answer = await manager.ask("GET", f"/distribution/{image}/json")
    assert (answer.status, answer.body["Descriptor"]["digest"]) == (200, "")


async def test_nulls_from_go_mean_absent(manager: Api):
    """A null where the type has no place for it is no error, as in Go."""
    spec = web(TaskTemplate={"ContainerSpec": {"Image": "busybox", "Dir": None}, "Runtime": None})
    shown = await manager.get(f"/services/{await create(manager, spec)}")
    assert "Dir" not in shown["Spec"]["TaskTemplate"]["ContainerSpec"]


async def test_an_update_keeps_the_previous_spec_and_a_rollback_swaps_them(manager: Api):
    """Rollback goes back by one, and again forth."""
    service_id = await create(manager, WEB)
    three = web(Mode={"Replicated": {"Replicas": 3}})
    shown = await update(manager, service_id, three)
    assert shown["Spec"]["Mode"]["Replicated"]["Replicas"] == 3
    assert shown["PreviousSpec"]["Mode"]["Replicated"]["Replicas"] == 2
    for replicas in (2, 3):
        shown = await update(manager, service_id, three, "&rollback=previous")
        assert shown["Spec"]["Mode"]["Replicated"]["Replicas"] == replicas
        assert shown["PreviousSpec"]["Mode"]["Replicated"]["Replicas"] == 5 - replicas
        assert shown["UpdateStatus"]["State"] == "rollback_started"
        assert shown["UpdateStatus"]["Message"] == "manually requested rollback"
    shown = await update(manager, service_id, web(Labels={}))
    assert "UpdateStatus" not in shown


async def test_an_update_that_changes_nothing_restarts_nothing(manager: Api):
    """Ansible's idempotent runs, stacks deployed again: nothing is written, so no event comes."""
    service_id = await create(manager, WEB)
    await update(manager, service_id, web(Labels={"a": "c"}), "&registryAuthFrom=spec")
    before = stored(manager, service_id)
    shown = await update(manager, service_id, web(Labels={"a": "c"}))
    assert stored(manager, service_id) == before
    assert shown["Version"]["Index"] == before.version.index


@pytest.mark.parametrize(
    ("change", "query", "status", "message"),
    [
        (
            {"Name": "other"},
            "",
            501,
            "rpc error: code = Unimplemented desc = renaming services is not supported",
        ),
        (
            {"Mode": {"Global": {}}},
            "",
            501,
            "rpc error: code = Unimplemented desc = service mode change is not allowed",
        ),
        (
            {},
            "&rollback=previous",
            400,
            (
                "rpc error: code = FailedPrecondition desc = "
                "service {id} does not have a previous spec"
            ),
        ),
        ({}, "&rollback=x", 500, "unrecognized rollback option x"),
        ({}, "&registryAuthFrom=x", 500, "unsupported registryAuthFrom value"),
    ],
)
async def test_updates_that_are_refused(
    manager: Api, change: dict[str, Any], query: str, status: int, message: str
):
    """A service keeps its name and its mode, and can't go back to nothing."""
    service_id = await create(manager, WEB)
    index = stored(manager, service_id).version.index
    answer = await manager.ask(
        "POST", f"/services/web/update?version={index}{query}", web(**change)
    )
    assert (answer.status, answer.message) == (status, message.format(id=service_id))


async def test_a_name_is_taken_once_whatever_its_case(manager: Api):
    """The conflict has Docker's text and status."""
    await create(manager, WEB)
    answer = await manager.ask("POST", "/services/create", web(Name="WEB"))
    assert (answer.status, answer.message) == (
        409,
        (
            "rpc error: code = AlreadyExists desc = "
            "name conflicts with an existing object: service WEB already exists"
        ),
    )


@pytest.mark.parametrize(
    ("mine", "other", "how"),
    [
        ("ingress", "ingress", "an ingress"),
        ("host", "ingress", "an ingress"),
        ("ingress", "host", "a host-published"),
        ("host", "host", None),
    ],
)
async def test_a_published_port_belongs_to_one_service(
    manager: Api, mine: str, other: str, how: str | None
):
    """Only two services in host mode may share a port: they meet on different nodes."""

    def endpoint(mode: str) -> dict[str, Any]:
        published = {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8088}
        return {"Ports": [published | {"PublishMode": mode}]}

    service_id = await create(manager, web(Name="full", EndpointSpec=endpoint(other)))
    answer = await manager.ask("POST", "/services/create", web(EndpointSpec=endpoint(mine)))
    if how is None:
        assert answer.status == 201
        return
    assert (answer.status, answer.message) == (
        400,
        (
            "rpc error: code = InvalidArgument desc = port '8088' is already in use by service "
            f"'full' ({service_id}) as {how} port"
        ),
    )
    # Its own ports are no conflict.
    await update(manager, service_id, web(Name="full", EndpointSpec=endpoint(other)))


async def test_a_port_is_shown_in_the_endpoint_once_it_has_a_number(manager: Api):
    """As in Docker: a client that waits for the port that is chosen for it reads no other one."""
    wanted = [{"TargetPort": 80}, {"TargetPort": 53, "PublishMode": "host", "Protocol": "udp"}]
    path = f"/services/{await create(manager, web(EndpointSpec={'Ports': wanted}))}"
    shown = await manager.get(path)
    assert [port["TargetPort"] for port in shown["Endpoint"]["Ports"]] == [53]
    assert len(shown["Endpoint"]["Spec"]["Ports"]) == 2


async def test_published_ports_are_shown_in_the_endpoint(manager: Api):
    """`docker service ls` reads them there."""
    published = {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8088}
    shown = await manager.get(
        f"/services/{await create(manager, web(EndpointSpec={'Ports': [published]}))}"
    )
    stored_port = published | {"PublishMode": "ingress"}
    assert shown["Endpoint"] == {
        "Spec": {"Mode": "vip", "Ports": [stored_port]},
        "Ports": [stored_port],
    }


@pytest.mark.parametrize(
    ("container", "status", "message"),
    [
        (
            {"Secrets": [{"File": {"Name": "y"}, "SecretID": "i", "SecretName": "y"}]},
            400,
            "rpc error: code = InvalidArgument desc = secret not found: y",
        ),
        (
            {
                "Configs": [
                    {"File": {"Name": "/y"}, "ConfigID": "i", "ConfigName": "y"},
                    {"File": {"Name": "/z"}, "ConfigID": "j", "ConfigName": "z"},
                ]
            },
            400,
            "rpc error: code = InvalidArgument desc = configs not found: y, z",
        ),
        (
            {"Secrets": [{"SecretName": "y"}]},
            400,
            "rpc error: code = InvalidArgument desc = malformed secret reference",
        ),
        (
            {"Secrets": [{"SecretID": "i", "SecretName": "y"}]},
            400,
            (
                "rpc error: code = InvalidArgument desc = "
                "malformed secret reference, no target provided"
            ),
        ),
        (
            {"Secrets": [{"File": {"Name": ""}, "SecretID": "i", "SecretName": "y"}]},
            400,
            (
                "rpc error: code = InvalidArgument desc = "
                "malformed file secret reference, invalid target file name provided"
            ),
        ),
        (
            {"Configs": [{"File": {"UID": "7"}, "ConfigID": "i", "ConfigName": "y"}]},
            400,
            (
                "rpc error: code = InvalidArgument desc = "
                "malformed file config reference, invalid target file name provided"
            ),
        ),
        (
            {
                "Secrets": [
                    {"File": {"Name": "pw"}, "SecretID": "i", "SecretName": "y"},
                    {"File": {"Name": "pw"}, "SecretID": "j", "SecretName": "z"},
                ]
            },
            400,
            (
                "rpc error: code = InvalidArgument desc = "
                "secret references 'y' and 'z' have a conflicting target: 'pw'"
            ),
        ),
        (
            {
                "Configs": [
                    {"File": {"Name": "y"}, "Runtime": {}, "ConfigID": "i", "ConfigName": "y"}
                ]
            },
            400,
            "invalid Config: cannot specify both File and Runtime",
        ),
        (
            {"Configs": [{"Runtime": {}, "ConfigID": "i", "ConfigName": "y"}]},
            400,
            "rpc error: code = InvalidArgument desc = config not found: y",
        ),
        (
            {"Privileges": {"CredentialSpec": {"Config": "i"}}},
            400,
            (
                "rpc error: code = InvalidArgument desc = CredentialSpec references config 'i', "
                "but that config isn't in config references with RuntimeTarget"
            ),
        ),
    ],
)
async def test_references_must_lead_somewhere(
    manager: Api, container: dict[str, Any], status: int, message: str
):
    """A service that uses what isn't there is refused."""
    template = {"ContainerSpec": {"Image": "busybox"} | container}
    answer = await manager.ask("POST", "/services/create", web(TaskTemplate=template))
    assert (answer.status, answer.message) == (status, message)


async def test_an_unknown_network_is_500_as_in_docker(manager: Api):
    """The engine resolves names before the swarm sees them."""
    template = WEB["TaskTemplate"] | {"Networks": [{"Target": "nonet"}]}
    answer = await manager.ask("POST", "/services/create", web(TaskTemplate=template))
    assert (answer.status, answer.message) == (500, "network nonet not found")


async def test_a_job_runs_again_with_each_update(manager: Api):
    """A job has a status from the start; every update begins a new iteration."""
    job = {
        "Name": "job",
        "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}},
        "Mode": {"ReplicatedJob": {}},
    }
    service_id = await create(manager, job)
    first = await manager.get(f"/services/{service_id}")
    assert first["Spec"]["Mode"]["ReplicatedJob"] == {"MaxConcurrent": 1, "TotalCompletions": 1}
    assert first["JobStatus"]["JobIteration"] == {"Index": 0}
    second = await update(manager, service_id, job)
    assert second["JobStatus"]["JobIteration"] == {"Index": 1}
    assert second["JobStatus"]["LastExecution"] > first["JobStatus"]["LastExecution"]


async def test_lists_are_filtered(manager: Api):
    """Values of a key are alternatives, keys add up; both forms of filters work; no hit is []."""
    one = await create(manager, web(Name="web-one", Labels={"tier": "front", "x": ""}))
    two = await create(manager, web(Name="web-two", Mode={"Global": {}}, Labels={"tier": "back"}))

    async def names(**filters: Any) -> list[str]:
        return sorted(item["Spec"]["Name"] for item in await manager.get("/services", **filters))

    assert await names() == ["web-one", "web-two"]
    assert await names(name=["web"]) == ["web-one", "web-two"]
    assert await names(name={"web-o": True, "zzz": True}) == ["web-one"]
    assert await names(id=[one[:10], two]) == ["web-one", "web-two"]
    assert await names(label=["tier"]) == ["web-one", "web-two"]
    assert await names(label={"tier=front": True, "x": True}) == ["web-one"]
    assert await names(mode=["global"]) == ["web-two"]
    assert await names(mode=["global"], label=["tier=front"]) == []
    assert await names(runtime=["container"], name=[]) == ["web-one", "web-two"]
    assert await names(runtime=["plugin"]) == []


async def test_status_counts_tasks(manager: Api):
    """Running are those that run on a node which is not down; wanted is what the mode says."""
    service_id = await create(manager, WEB)
    dead = await manager.node.add_node("w9", state=NodeState.DOWN)

    def task(number: int, node_id: str, state: TaskState) -> Task:
        return Task(
            id=f"t{number}",
            service_id=service_id,
            slot=number,
            node_id=node_id,
            status=TaskStatus(state=state),
            internal=TaskInternal(spec_version=1, service_name="web"),
        )

    me = manager.node.node_id
    await manager.node.put(
        task(1, me, TaskState.RUNNING),
        task(2, me, TaskState.STARTING),
        task(3, dead.id, TaskState.RUNNING),
        task(4, me, TaskState.COMPLETE),
    )
    shown = await manager.get("/services?status=true")
    assert shown[0]["ServiceStatus"] == {
        "RunningTasks": 1,
        "DesiredTasks": 2,
        "CompletedTasks": 0,
    }
    assert "ServiceStatus" not in (await manager.get("/services"))[0]


async def test_a_job_counts_the_tasks_of_its_present_run(manager: Api):
    """What an earlier iteration completed doesn't count; desired is what may run at once."""
    job = {
        "Name": "job",
        "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}},
        "Mode": {"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 3}},
    }
    service_id = await create(manager, job)
    old = Task(
        id="old",
        service_id=service_id,
        slot=0,
        node_id=manager.node.node_id,
        status=TaskStatus(state=TaskState.COMPLETE),
        job_iteration=ObjectVersion(index=77),
    )
    now = [
        replace(old, id=f"now{n}", slot=n, job_iteration=ObjectVersion(index=0)) for n in range(3)
    ]
    await manager.node.put(old, *now)
    shown = await manager.get("/services?status=true")
    assert shown[0]["ServiceStatus"] == {
        "RunningTasks": 0,
        "DesiredTasks": 2,
        "CompletedTasks": 3,
    }


async def test_removing_a_service_retries_when_an_orchestrator_was_faster(
    manager: Api, monkeypatch: pytest.MonkeyPatch
):
    """The client names no version, so another writer is no reason to fail."""
    service_id = await create(manager, WEB)
    store = manager.node.store
    assert store is not None
    commit = store.commit
    raced: list[bool] = []

    async def race(tx: Any) -> Any:
        if not raced:
            raced.append(True)
            status = replace(store.services[service_id], internal=ServiceInternal(spec_version=1))
            await manager.node.put(status)
        return await commit(tx)

    monkeypatch.setattr(store, "commit", race, raising=True)
    monkeypatch.setattr(manager.node, "put", _putter(commit))
    answer = await manager.ask("DELETE", "/services/web")
    assert answer.status == 200
    assert len(store.services) == 0


def _putter(commit: Any) -> Any:
    async def put(obj: Any) -> None:
        tx = Transaction()
        tx.put(obj)
        await commit(tx)

    return put


async def test_a_rebalance_is_an_update_that_changes_nothing_but_asks_for_it(manager: Api):
    """The status says so, the way back stays; a rebalance that goes on may be asked for again."""
    service_id = await create(manager, web())
    changed = await update(manager, service_id, web(Labels={"a": "c"}))
    shown = await update(manager, service_id, changed["Spec"], "&rebalance=true")
    assert shown["UpdateStatus"]["State"] == "updating"
    assert shown["UpdateStatus"]["Message"] == "rebalancing"
    assert shown["PreviousSpec"]["Labels"] == {"a": "b"}
    internal = stored(manager, service_id).internal
    assert isinstance(internal, ServiceInternal)
    assert internal.rebalance == internal.spec_version
    again = await update(manager, service_id, changed["Spec"], "&rebalance=true")
    assert again["UpdateStatus"]["Message"] == "rebalancing"


@pytest.mark.parametrize(
    ("spec", "sent", "status", "text"),
    [
        (web(Mode={"Global": {}}), {}, "", "only replicated services can be rebalanced"),
        (web(), {"Labels": {}}, "", "a rebalance can't change the service as well"),
        (web(), {}, "paused", "can't be rebalanced while its update is paused"),
        (web(), {}, "updating", "can't be rebalanced while its update is updating"),
    ],
)
async def test_what_cannot_be_rebalanced_is_refused(
    manager: Api, spec: dict[str, Any], sent: dict[str, Any], status: str, text: str
):
    """Each with the reason, and nothing has changed."""
    service_id = await create(manager, spec)
    store = manager.node.store
    assert store is not None
    if status:
        await store.modify(
            store.services,
            service_id,
            lambda old: replace(old, update_status=UpdateStatus(state=status)),
        )
    before = await manager.get(f"/services/{service_id}")
    path = f"/services/{service_id}/update?version={before['Version']['Index']}&rebalance=true"
    answer = await manager.ask("POST", path, before["Spec"] | sent)
    assert answer.status == 400
    assert text in answer.body["message"]
    assert await manager.get(f"/services/{service_id}") == before


async def test_a_job_that_is_rolled_back_shows_no_update_that_never_ends(manager: Api):
    """Its next run is of the former spec; there is no progress to tell."""
    job = web(Mode={"ReplicatedJob": {}})
    del job["EndpointSpec"]
    service_id = await create(manager, job)
    changed = await update(manager, service_id, job | {"Labels": {"a": "c"}})
    back = await update(manager, service_id, changed["Spec"], "&rollback=previous")
    assert back["Spec"]["Labels"] == {"a": "b"}
    assert back["JobStatus"]["JobIteration"]["Index"] == 2
    assert "UpdateStatus" not in back
