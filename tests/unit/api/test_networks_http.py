"""``/networks``: created with a subnet, shown as Docker shows them, kept while in use."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from swarmops.model.ids import new_id
from swarmops.model.network import Network, NetworkAttachment, NetworkSpec
from swarmops.model.service import Endpoint, VirtualIP
from swarmops.model.task import Task, TaskState, TaskStatus
from swarmops.store import Transaction
from tests.unit.api.conftest import Answer, Api

REFUSED = "rpc error: code = FailedPrecondition desc = "
VXLAN = "com.docker.network.driver.overlay.vxlanid_list"
OVERLAY = {"Driver": "overlay", "CheckDuplicate": True}


async def create(api: Api, name: str, **more: Any) -> Answer:
    """Ask for an overlay network."""
    return await api.ask("POST", "/networks/create", OVERLAY | {"Name": name} | more)


async def made(api: Api, name: str, **more: Any) -> str:
    """Create an overlay network; return its ID."""
    answer = await create(api, name, **more)
    assert answer.status == 201, answer
    return str(answer.body["Id"])


def service(name: str, *networks: str, image: str = "busybox:1", **more: Any) -> dict[str, Any]:
    """Return a service whose tasks join networks."""
    return {
        "Name": name,
        "TaskTemplate": {
            "ContainerSpec": {"Image": image},
            "Networks": [{"Target": each, "Aliases": ["a"]} for each in networks],
        },
        **more,
    }


async def served(api: Api, *args: str, **more: Any) -> Answer:
    """Create a service; it must succeed."""
    answer = await api.ask("POST", "/services/create", service(*args, **more))
    assert answer.status == 201, answer
    return answer


async def test_a_network_is_shown_as_docker_shows_it(manager: Api):
    """Subnet, gateway and number are there as soon as it is created."""
    network_id = await made(manager, "front")
    shown = await manager.get("/networks/front")
    assert shown.pop("Created")
    assert shown == {
        "Name": "front",
        "Id": network_id,
        "Scope": "swarm",
        "Driver": "overlay",
        "EnableIPv4": True,
        "EnableIPv6": False,
        "IPAM": {
            "Driver": "default",
            "Options": None,
            "Config": [{"Subnet": "10.0.1.0/24", "Gateway": "10.0.1.1"}],
        },
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": None,
        "Options": {VXLAN: "4097"},
        "Labels": None,
    }


async def test_everything_that_was_asked_for_is_kept(manager: Api):
    """Flags, options, labels, subnet, range and gateway."""
    await made(
        manager,
        "back",
        Attachable=True,
        Internal=True,
        EnableIPv6=True,
        Options={"encrypted": ""},
        Labels={"n": "1"},
        IPAM={
            "Driver": "default",
            "Options": {},
            "Config": [
                {"Subnet": "10.200.0.0/24", "Gateway": "10.200.0.9", "IPRange": "10.200.0.128/25"}
            ],
        },
    )
    shown = await manager.get("/networks/back?verbose=true")
    assert (shown["Attachable"], shown["Internal"], shown["EnableIPv6"]) == (True, True, True)
    assert shown["Labels"] == {"n": "1"}
    assert "Services" not in shown  # nothing is attached
    assert shown["Options"]["encrypted"] == ""
    assert shown["IPAM"]["Config"] == [
        {"Subnet": "10.200.0.0/24", "IPRange": "10.200.0.128/25", "Gateway": "10.200.0.9"}
    ]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"Name": "taken"}, 409, "network with name taken already exists"),
        ({"Name": "host"}, 409, "network with name host already exists"),
        ({"Name": "none"}, 409, "network with name none already exists"),
        ({"Name": "ingress"}, 409, "network with name ingress already exists"),
        ({"Name": "a b"}, 400, "name must be valid as a DNS name component"),
        ({}, 400, "name must be valid as a DNS name component"),
        ({"Name": "x", "Driver": "nosuch"}, 404, 'plugin "nosuch" not found'),
        ({"Name": "x", "Driver": ""}, 404, 'plugin "bridge" not found'),
        (
            {"Name": "x", "Scope": "local"},
            403,
            "cannot downgrade network scope for overlay networks",
        ),
        (
            {"Name": "x", "IPAM": {"Driver": "nosuch"}},
            400,
            "error during lookup of plugin nosuch",
        ),
        (
            {"Name": "x", "IPAM": {"Config": [{"Subnet": "10.300.0.0/16"}]}},
            500,
            "Invalid subnet 10.300.0.0/16 : invalid CIDR address: 10.300.0.0/16",
        ),
        (
            {"Name": "x", "IPAM": {"Config": [{"Subnet": "10.9.0.0/255.255.0.0"}]}},
            500,
            "invalid CIDR address: 10.9.0.0/255.255.0.0",
        ),
        (
            {"Name": "x", "IPAM": {"Config": [{"Gateway": "1.2.3.4"}]}},
            500,
            "Invalid subnet  : invalid CIDR address: ",
        ),
        (
            {"Name": "x", "IPAM": {"Config": [{"Subnet": "10.9.0.0/24", "Gateway": "1.2.3.4"}]}},
            400,
            "ipam configuration: subnet 10.9.0.0/24 does not contain gateway 1.2.3.4",
        ),
        (
            {"Name": "x", "IPAM": {"Config": [{"Subnet": "10.9.0.0/24", "IPRange": "1.2.3.0/24"}]}},
            400,
            "ipam configuration: subnet 10.9.0.0/24 does not contain ip-range 1.2.3.0/24",
        ),
        (
            {"Name": "x", "IPAM": {"Config": [{"Subnet": "10.0.1.0/28"}]}},
            400,
            "Pool overlaps with other one on this address space",
        ),
        ({"Name": "x", "Options": {VXLAN: "abc"}}, 400, 'invalid vxlan id value "abc" passed'),
        ({"Name": "x", "Options": {VXLAN: "5000,0"}}, 400, 'invalid vxlan id value "0" passed'),
        ({"Name": "x", "Options": {VXLAN: "5000,4097"}}, 400, "4097 is in use by another network"),
        ({"Name": "x", "Ingress": True}, 409, "is already present"),
        ({"Name": "x", "ConfigOnly": True}, 501, "local to a host"),
        ({"Name": "x", "Ingress": True, "Attachable": True}, 400, "cannot be attachable"),
    ],
)
async def test_what_no_swarm_takes_is_refused_in_dockers_words(
    manager: Api, body: dict[str, Any], status: int, message: str
):
    """The names of every host's networks, wrong subnets, other drivers, a second ingress."""
    await made(manager, "taken")
    answer = await manager.ask("POST", "/networks/create", OVERLAY | body)
    assert (answer.status, message in answer.message) == (status, True), answer


async def test_only_managers_create_networks(api: Api):
    """Docker has a status of its own for each of the others."""
    answer = await create(api, "x")
    assert answer.status == 500
    assert answer.message.startswith("This node is not a swarm manager.")
    await api.node.become_worker()
    answer = await create(api, "x")
    assert answer.status == 403
    assert answer.message.startswith("Cannot create a multi-host network from a worker node.")
    assert (await api.ask("DELETE", "/networks/x")).message == "network x not found"
    assert (await api.ask("POST", "/networks/prune")).body == {"NetworksDeleted": None}


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, ["ingress", "front", "back"]),
        ({"name": ["fro"]}, ["front"]),
        ({"name": ["ron"]}, ["front"]),
        ({"driver": ["overlay"]}, ["ingress", "front", "back"]),
        ({"driver": ["bridge"]}, []),
        ({"scope": ["local"]}, []),
        ({"scope": ["swarm"], "name": ["back"]}, ["back"]),
        ({"type": ["builtin"]}, []),
        ({"type": ["custom"]}, ["ingress", "front", "back"]),
        ({"label": ["tier"]}, ["back"]),
        ({"label": ["tier=1"]}, []),
        ({"dangling": ["true"]}, ["ingress", "front", "back"]),
        ({"dangling": ["false"]}, []),
        ({"id": ["zzzzzzzz"]}, []),
    ],
)
async def test_networks_are_listed_as_asked(
    manager: Api, filters: dict[str, list[str]], names: list[str]
):
    """Those that stand for every host's are not in the list."""
    await made(manager, "front")
    await made(manager, "back", Labels={"tier": "2"})
    assert [one["Name"] for one in await manager.get("/networks", **filters)] == names


@pytest.mark.parametrize(
    ("filters", "status", "message"),
    [
        ({"type": ["x"]}, 500, "invalid filter: 'type'='x'"),
        ({"dangling": ["x"]}, 400, "invalid value for filter 'dangling'"),
        ({"bad": ["x"]}, 400, "Invalid filter 'bad'"),
    ],
)
async def test_filters_that_mean_nothing_are_refused(
    manager: Api, filters: dict[str, list[str]], status: int, message: str
):
    """With Docker's statuses."""
    answer = await manager.ask("GET", "/networks", **filters)
    assert (answer.status, message in answer.message) == (status, True)


async def test_a_network_is_found_by_id_name_and_prefix(manager: Api):
    """Those that stand for every host's too, for services name them."""
    network_id = await made(manager, "front")
    for reference in (network_id, "front", network_id[:9]):
        shown = await manager.get(f"/networks/{reference}?scope=swarm")
        assert shown["Id"] == network_id
    host = await manager.get("/networks/host?scope=swarm")
    assert (host["Driver"], host["Labels"]) == ("host", {"com.docker.swarm.predefined": "true"})
    assert (await manager.ask("GET", "/networks/front?scope=local")).status == 404
    assert (await manager.ask("GET", "/networks/none?scope=swarm")).status == 404


@pytest.mark.parametrize("reference", ["front", "ID", "PREFIX"])
async def test_a_service_names_a_network_and_its_spec_has_the_id(manager: Api, reference: str):
    """By name, ID or the beginning of it; the aliases come back."""
    network_id = await made(manager, "front")
    target = {"ID": network_id, "PREFIX": network_id[:9]}.get(reference, reference)
    await served(manager, "web", target)
    spec = (await manager.get("/services/web"))["Spec"]
    assert spec["TaskTemplate"]["Networks"] == [{"Target": network_id, "Aliases": ["a"]}]


async def test_networks_in_the_older_place_of_a_spec_are_joined_too(manager: Api):
    """Where the task template names none."""
    network_id = await made(manager, "front")
    body = service("web") | {"Networks": [{"Target": "front"}]}
    assert (await manager.ask("POST", "/services/create", body)).status == 201
    spec = (await manager.get("/services/web"))["Spec"]
    assert spec["TaskTemplate"]["Networks"] == [{"Target": network_id}] == spec["Networks"]


@pytest.mark.parametrize(
    ("target", "status", "message"),
    [
        ("nosuch", 500, "network nosuch not found"),
        (
            "none",
            404,
            "could not find the corresponding predefined swarm network: network none not found",
        ),
        (
            "ingress",
            400,
            'Service cannot be explicitly attached to the ingress network "ingress"',
        ),
    ],
)
async def test_a_service_cannot_join_every_network(
    manager: Api, target: str, status: int, message: str
):
    """Unknown ones, that of no network, and that of published ports; in an update as well."""
    answer = await manager.ask("POST", "/services/create", service("web", target))
    assert (answer.status, message in answer.message) == (status, True)
    await served(manager, "web")
    version = (await manager.get("/services/web"))["Version"]["Index"]
    answer = await manager.ask(
        "POST", f"/services/web/update?version={version}", service("web", target)
    )
    assert (answer.status, message in answer.message) == (status, True)


@pytest.mark.parametrize(
    ("image", "target", "warning"),
    [
        ("busybox:1", "front", "containers in front reach only those on their own node"),
        ("host", "front", "plain processes join no network"),
        ("busybox:1", "host", ""),
        ("busybox:1", "", ""),
    ],
)
async def test_the_client_is_told_what_a_network_does_not_do_yet(
    manager: Api, image: str, target: str, warning: str
):
    """When the service is created, and when it is updated."""
    await made(manager, "front")
    targets = [target] if target else []
    created = await served(manager, "web", *targets, image=image)
    stored = await manager.get("/services/web")
    path = f"/services/web/update?version={stored['Version']['Index']}"
    updated = await manager.ask("POST", path, stored["Spec"])
    for answer in (created, updated):
        warnings = answer.body.get("Warnings") or []
        assert len(warnings) == bool(warning)
        assert warning in "".join(warnings)


async def test_a_network_in_use_is_kept(manager: Api):
    """By a service, or by a task that a service has left running; not by one that only stops."""
    network_id = await made(manager, "front")
    service_id = (await served(manager, "web", "front")).body["ID"]
    answer = await manager.ask("DELETE", "/networks/front")
    assert (answer.status, answer.message) == (
        400,
        f"{REFUSED}network {network_id} is in use by service {service_id}",
    )
    task = _task(manager, service_id, network_id)
    await manager.node.put(task)
    version = (await manager.get("/services/web"))["Version"]["Index"]
    path = f"/services/web/update?version={version}"
    assert (await manager.ask("POST", path, service("web"))).status == 200
    answer = await manager.ask("DELETE", "/networks/front")
    assert answer.message.endswith(f"network {network_id} is in use by task {task.id}")
    assert (await manager.ask("DELETE", "/services/web")).status == 200
    assert (await manager.ask("DELETE", f"/networks/{network_id}")).status == 204
    assert (await manager.ask("GET", "/networks/front")).status == 404


def _task(manager: Api, service_id: str, network_id: str) -> Task:
    """Return a running task that has an address."""
    known = Network(id=network_id, spec=NetworkSpec(name="front"))
    return Task(
        id=new_id(manager.node.rng),
        service_id=service_id,
        slot=1,
        node_id=manager.node.node_id,
        status=TaskStatus(state=TaskState.RUNNING),
        networks_attachments=[NetworkAttachment(network=known, addresses=["10.0.1.9/24"])],
    )


async def test_the_ingress_network_is_kept_while_a_service_publishes_ports(manager: Api):
    """Then it may go, and another one be made; without one no port is published."""
    ports: dict[str, Any] = {"EndpointSpec": {"Ports": [{"TargetPort": 80, "PublishedPort": 8080}]}}
    service_id = (await served(manager, "web", **ports)).body["ID"]
    answer = await manager.ask("DELETE", "/networks/ingress")
    assert answer.status == 400
    assert answer.message.endswith(
        f"ingress network cannot be removed because service {service_id} depends on it"
    )
    await manager.ask("DELETE", "/services/web")
    assert (await manager.ask("DELETE", "/networks/ingress")).status == 204
    answer = await manager.ask("POST", "/services/create", service("web", **ports))
    assert (answer.status, answer.message) == (
        400,
        f"{REFUSED}service needs ingress network, but no ingress network is present",
    )
    await made(manager, "mine", Ingress=True)
    assert (await manager.get("/networks/mine"))["Ingress"] is True
    await served(manager, "web", **ports)


@pytest.mark.parametrize("name", ["bridge", "host", "none"])
async def test_the_networks_of_every_host_stay(manager: Api, name: str):
    """By name, and by the ID that services know."""
    answer = await manager.ask("DELETE", f"/networks/{name}")
    assert (answer.status, answer.message) == (
        403,
        f"{name} is a pre-defined network and cannot be removed",
    )
    if name != "none":
        network_id = (await manager.get(f"/networks/{name}?scope=swarm"))["Id"]
        assert (await manager.ask("DELETE", f"/networks/{network_id}")).status == 400


async def test_pruning_removes_what_nothing_uses(manager: Api):
    """Not the ingress network, nor what is in use, younger than asked, or labelled otherwise."""
    await made(manager, "used")
    await made(manager, "spare", Labels={"a": "b"})
    await made(manager, "kept", Labels={"keep": "1"})
    await served(manager, "web", "used")

    async def prune(**filters: Any) -> Any:
        return (await manager.ask("POST", "/networks/prune", **filters)).body["NetworksDeleted"]

    assert await prune(until=["1h"]) is None
    assert await prune(label=["x"]) is None
    assert await prune(**{"label!": ["keep"]}) == ["spare"]
    assert await prune() == ["kept"]
    assert await prune() is None
    assert [one["Name"] for one in await manager.get("/networks")] == ["ingress", "used"]
    assert (await manager.ask("POST", "/networks/prune", bad=["x"])).status == 400


async def test_pruning_goes_on_where_another_has_removed_one_meanwhile(
    manager: Api, monkeypatch: pytest.MonkeyPatch
):
    """It tells of those that it has removed itself."""
    for name in ("first", "second", "third"):
        await made(manager, name)
    store = manager.node.store
    assert store is not None
    commit = store.commit

    async def after_another(tx: Transaction) -> None:
        monkeypatch.setattr(store, "commit", commit)
        assert (await manager.ask("DELETE", "/networks/first")).status == 204
        await commit(tx)

    monkeypatch.setattr(store, "commit", after_another)
    answer = await manager.ask("POST", "/networks/prune")
    assert (answer.status, answer.body) == (200, {"NetworksDeleted": ["second", "third"]})


@pytest.mark.parametrize(
    ("until", "why"),
    [
        ("999999999999", "later than the year 9999"),
        ("9999999999h", "there is no such time"),
        pytest.param("9" * 400 + "h", "there is no such time", id="hundreds-of-digits"),
    ],
)
async def test_no_network_is_pruned_by_a_time_that_there_is_not(manager: Api, until: str, why: str):
    """It lies before the year 1, or after 9999."""
    answer = await manager.ask("POST", "/networks/prune", until=[until])
    assert (answer.status, why in answer.message) == (400, True)


async def test_a_task_and_a_service_show_their_networks_whole(manager: Api):
    """The network as it is now, addresses, virtual IPs; verbosely the network shows both."""
    network_id = await made(manager, "front", Labels={"tier": "1"})
    service_id = (await served(manager, "web", "front")).body["ID"]
    store = manager.node.store
    assert store is not None
    address = VirtualIP(network_id=network_id, addr="10.0.1.2/24")
    endpoint = Endpoint(virtual_ips=[address])
    await manager.node.put(replace(store.services[service_id], endpoint=endpoint))
    task = _task(manager, service_id, network_id)
    await manager.node.put(task)
    [attached] = (await manager.get(f"/tasks/{task.id}"))["NetworksAttachments"]
    assert attached["Addresses"] == ["10.0.1.9/24"]
    network = attached["Network"]
    assert network["Spec"] == {
        "Name": "front",
        "Labels": {"tier": "1"},
        "DriverConfiguration": {"Name": "overlay"},
        "IPAMOptions": {"Driver": {}},
        "Scope": "swarm",
    }
    assert network["DriverState"]["Name"] == "overlay"
    assert network["IPAMOptions"] == {
        "Driver": {"Name": "default"},
        "Configs": [{"Subnet": "10.0.1.0/24", "Gateway": "10.0.1.1"}],
    }
    listed = (await manager.get("/tasks"))[0]["NetworksAttachments"]
    assert listed == [attached]
    shown = await manager.get("/services/web")
    assert shown["Endpoint"]["VirtualIPs"] == [{"NetworkID": network_id, "Addr": "10.0.1.2/24"}]
    verbose = (await manager.get("/networks/front?verbose=true"))["Services"]
    assert verbose["web"]["VIP"] == "10.0.1.2"
    assert [one["EndpointIP"] for one in verbose["web"]["Tasks"]] == ["10.0.1.9"]
    assert "Services" not in await manager.get("/networks/front")
