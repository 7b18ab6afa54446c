"""Scenarios: published ports, in host mode and through the ingress, as the API shows them."""

from typing import Any

from tests.lab.oracle.case import Case
from tests.lab.oracle.table import scenario

BAD = "Error response from daemon: rpc error: code = InvalidArgument desc = "
NONE = ("--replicas", "0")


def _ports(case: Case, service: str) -> list[dict[str, Any]]:
    """Return the ports that a service has at the end of the day."""
    found: list[dict[str, Any]] = case.inspect(service)["Endpoint"].get("Ports", [])
    return found


@scenario
def ingress_port(case: Case) -> None:
    """A published port is in the spec, in the endpoint's spec and among the endpoint's ports."""
    web = case.create(*NONE, "--publish", "20001:80")
    port = {
        "Protocol": "tcp",
        "TargetPort": 80,
        "PublishedPort": 20001,
        "PublishMode": "ingress",
    }
    case.until(lambda: _ports(case, web), "its ports")
    found = case.inspect(web)
    assert found["Spec"]["EndpointSpec"] == {"Mode": "vip", "Ports": [port]}
    assert found["Endpoint"]["Spec"] == {"Mode": "vip", "Ports": [port]}
    assert found["Endpoint"]["Ports"] == [port]
    words = ("--filter", f"name={web}", "--format", "{{.Ports}}")
    assert case.docker("service", "ls", *words) == "*:20001->80/tcp"


@scenario
def ingress_port_allocated(case: Case) -> None:
    """Without a number a port from 30000 on is chosen, and stays over updates."""
    web = case.create(*NONE, "--publish", "target=80", "--publish", "target=53,protocol=udp")
    case.until(lambda: len(_ports(case, web)) == 2, "two ports")
    chosen = {port["Protocol"]: port["PublishedPort"] for port in _ports(case, web)}
    assert all(30000 <= number <= 32767 for number in chosen.values())
    assert all("PublishedPort" not in p for p in case.inspect(web)["Spec"]["EndpointSpec"]["Ports"])
    case.update(web, "--label-add", "x=y")
    case.until(lambda: case.service(web)["Spec"]["Labels"], "the update")
    assert {p["Protocol"]: p["PublishedPort"] for p in _ports(case, web)} == chosen


@scenario
def ingress_port_conflict(case: Case) -> None:
    """A port that another service publishes is refused, by name and ID, also in an update."""
    first = case.create(*NONE, "--publish", "20002:80")
    case.until(lambda: _ports(case, first), "its ports")
    owner = f"service '{first}' ({case.service(first)['ID']})"
    wanted = f"{BAD}port '20002' is already in use by {owner} as an ingress port"
    assert case.create_refused(*NONE, "--publish", "20002:81", suffix="two") == (1, wanted)
    third = case.create(*NONE, suffix="three")
    refused = case.refused("service", "update", "--detach", "--publish-add", "20002:80", third)
    assert refused == (1, wanted)
    case.docker("service", "rm", first)
    fourth = case.create(*NONE, "--publish", "20002:80", suffix="four")
    case.until(lambda: _ports(case, fourth), "the port that is free again")


@scenario
def same_number_other_protocol(case: Case) -> None:
    """TCP and UDP are two ports."""
    case.create(*NONE, "--publish", "20003:80")
    other = case.create(*NONE, "--publish", "20003:80/udp", suffix="udp")
    case.until(lambda: _ports(case, other), "its ports")


@scenario
def host_port(case: Case) -> None:
    """A port in host mode is its task's, on the task's node, and no endpoint of the service."""
    web = case.create("--publish", "mode=host,target=80,published=20004")
    (task,) = case.running(web, 1)
    wanted = {
        "Protocol": "tcp",
        "TargetPort": 80,
        "PublishedPort": 20004,
        "PublishMode": "host",
    }
    assert task["Status"]["PortStatus"]["Ports"] == [wanted]
    assert [row["Ports"] for row in case.ps(web)] == ["*:20004->80/tcp"]
    assert _ports(case, web) == [wanted]


@scenario
def host_port_dynamic(case: Case) -> None:
    """Without a number a host port is chosen on the node when the container starts."""
    web = case.create("--publish", "mode=host,target=80")
    (task,) = case.running(web, 1)
    ports = task["Status"]["PortStatus"]["Ports"]
    numbers = {port["PublishedPort"] for port in ports}
    assert all(number > 1024 for number in numbers)
    assert {port["TargetPort"] for port in ports} == {80}


@scenario
def ports_in_dnsrr_mode(case: Case) -> None:
    """A service without an address of its own can't publish through the ingress."""
    refused = case.create_refused(*NONE, "--endpoint-mode", "dnsrr", "--publish", "20005:80")
    said = "EndpointSpec: port published with ingress mode can't be used with dnsrr mode"
    assert refused == (1, f"{BAD}{said}")


@scenario
def ports_twice(case: Case) -> None:
    """One port published twice by one service is refused."""
    refused = case.create_refused(*NONE, "--publish", "20006:80", "--publish", "20006:81")
    assert refused == (1, f"{BAD}EndpointSpec: duplicate published ports provided")


@scenario
def publish_and_unpublish(case: Case) -> None:
    """Ports come and go by updates."""
    web = case.create(*NONE, "--publish", "20007:80")
    case.until(lambda: _ports(case, web), "its ports")
    case.update(web, "--publish-add", "20008:81", "--publish-rm", "80")
    case.until(
        lambda: [port["PublishedPort"] for port in _ports(case, web)] == [20008], "the new port"
    )
