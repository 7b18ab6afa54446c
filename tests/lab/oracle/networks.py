"""Scenarios: overlay networks as objects: made, shown, joined, refused.

Services have no tasks here: a Docker Engine's own overlay needs more of the kernel than a lab has.
"""

import json
import re
from ipaddress import IPv4Network, ip_address, ip_interface, ip_network
from typing import Any

from tests.lab.oracle.case import Case
from tests.lab.oracle.table import scenario

NONE = ("--replicas", "0")
RPC = "Error response from daemon: rpc error: code = "
VXLAN = "com.docker.network.driver.overlay.vxlanid_list"


def network(case: Case, *options: str, suffix: str = "net") -> str:
    """Create an overlay network; return its name."""
    name = case.keep("network", case.name(suffix))
    case.docker("network", "create", "--driver", "overlay", *options, name)
    return name


def shown(case: Case, name: str) -> dict[str, Any]:
    """Return what `docker network inspect` says, once the network has its subnet."""

    def look() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(case.docker("network", "inspect", name))[0]
        return found if found["IPAM"]["Config"] else {}

    return case.until(look, f"the subnet of {name}")


def virtual(case: Case, service: str, count: int) -> dict[str, str]:
    """Return a service's virtual IPs by network, once there are so many."""
    found: list[dict[str, str]] = []

    def look() -> bool:
        found[:] = case.service(service)["Endpoint"].get("VirtualIPs") or []
        return len(found) == count

    case.until(look, f"{count} virtual IPs of {service}")
    return {each["NetworkID"]: each.get("Addr", "") for each in found}


@scenario
def a_network_gets_a_subnet(case: Case) -> None:
    """A /24 of the pool, whose first address is the gateway, and a number of its own."""
    one, two = (shown(case, network(case, suffix=each)) for each in ("one", "two"))
    for each in (one, two):
        [config] = each["IPAM"]["Config"]
        subnet = IPv4Network(config["Subnet"])
        assert subnet.prefixlen == 24
        assert subnet.subnet_of(IPv4Network("10.0.0.0/8"))
        assert ip_address(config["Gateway"]) == subnet.network_address + 1
        assert int(each["Options"][VXLAN]) > 4096
        assert (each["Scope"], each["Driver"], each["Labels"]) == ("swarm", "overlay", None)
        assert not each["Internal"] and not each["Attachable"] and not each["Ingress"]  # noqa: PT018
    assert one["IPAM"]["Config"] != two["IPAM"]["Config"]
    assert one["Options"] != two["Options"]


@scenario
def a_network_is_as_it_was_asked_for(case: Case) -> None:
    """Subnet, range, gateway, flags, options, labels."""
    words = "--subnet 10.211.0.0/24 --ip-range 10.211.0.128/25 --gateway 10.211.0.9"
    flags = "--attachable --internal -o encrypted --label n=1"
    found = shown(case, network(case, *words.split(), *flags.split()))
    assert found["IPAM"]["Config"] == [
        {"Subnet": "10.211.0.0/24", "IPRange": "10.211.0.128/25", "Gateway": "10.211.0.9"}
    ]
    assert found["Internal"] is found["Attachable"] is True
    assert found["Options"]["encrypted"] == ""
    assert found["Labels"] == {"n": "1"}


@scenario
def networks_are_found_and_listed(case: Case) -> None:
    """By name, ID and prefix; with filters by name, label, driver and scope."""
    name = network(case, "--label", f"of={case.name()}")
    network_id = case.docker("network", "inspect", "--format", "{{.ID}}", name)
    for reference in (name, network_id, network_id[:12]):
        assert case.docker("network", "inspect", "--format", "{{.Name}}", reference) == name
    for words in (
        f"--filter name={name}",
        f"--filter id={network_id}",
        f"--filter label=of={case.name()}",
        f"--filter driver=overlay --filter name={name}",
        f"--filter scope=swarm --filter name={name}",
        f"--filter type=custom --filter name={name}",
    ):
        assert case.docker("network", "ls", "--format", "{{.Name}}", *words.split()) == name, words
    for words in ("scope=local", "driver=bridge", "label=nothing"):
        listed = case.docker("network", "ls", "--format", "{{.Name}}", "--filter", words)
        assert name not in listed.split()


@scenario
def networks_that_are_refused(case: Case) -> None:
    """Names that are taken or none, subnets that are none, a second ingress network."""
    name = network(case)
    create = ("network", "create", "--driver", "overlay")
    taken = "Error response from daemon: network with name {} already exists"
    assert case.refused(*create, name).said == taken.format(name)
    assert case.refused(*create, "host").said == taken.format("host")
    assert case.refused(*create, "ingress").said == taken.format("ingress")
    bad = f"{RPC}InvalidArgument desc = "
    assert case.refused(*create, "a b").said == f"{bad}name must be valid as a DNS name component"
    refused = case.refused(*create, "--ingress", case.name("ingress"))
    assert re.fullmatch(
        rf"{RPC}AlreadyExists desc = ingress network \(\w+\) is already present", refused.said
    )
    body = {"Name": case.name("odd"), "Driver": "overlay"}
    config = {"Subnet": "10.212.0.0/24", "Gateway": "1.2.3.4"}
    status, said = case.side.api(
        "POST", "/networks/create", body | {"IPAM": {"Driver": "default", "Config": [config]}}
    )
    text = "ipam configuration: subnet 10.212.0.0/24 does not contain gateway 1.2.3.4"
    assert (status, said["message"].endswith(text)) == (400, True)
    status, said = case.side.api("POST", "/networks/create", body | {"Scope": "local"})
    text = "cannot downgrade network scope for overlay networks"
    assert (status, said["message"]) == (403, text)
    assert case.refused("network", "inspect", "nothing").rc == 1
    assert case.refused("network", "rm", "nothing").rc == 1


@scenario
def a_subnet_that_another_network_has(case: Case) -> None:
    """Two networks can't share addresses."""
    network(case, "--subnet", "10.213.0.0/24")
    name = case.keep("network", case.name("other"))
    words = ("network", "create", "--driver", "overlay", "--subnet", "10.213.0.0/16", name)
    rc = case.run(*words).rc
    assert rc == case.by_side(ours=1, docker=0, because="Networks")


@scenario
def a_network_in_use_is_kept(case: Case) -> None:
    """As long as a service names it."""
    name = network(case)
    web = case.create(*NONE, "--network", name)
    network_id, service_id = shown(case, name)["Id"], case.service(web)["ID"]
    status, said = case.side.api("DELETE", f"/networks/{name}")
    text = f"network {network_id} is in use by service {service_id}"
    prefix = "rpc error: code = FailedPrecondition desc = "
    assert (status, said["message"]) == (400, prefix + text)
    case.docker("service", "rm", web)
    case.docker("network", "rm", name)


@scenario
def services_have_virtual_ips(case: Case) -> None:
    """One in each network, kept through an update; none in mode dnsrr."""
    front, back = (network(case, suffix=each) for each in ("front", "back"))
    ids = {shown(case, each)["Id"]: shown(case, each) for each in (front, back)}
    web = case.create(*NONE, "--network", f"name={front},alias=www")
    [(first, address)] = virtual(case, web, 1).items()
    subnet = ip_network(ids[first]["IPAM"]["Config"][0]["Subnet"])
    assert ip_interface(address).network == subnet
    assert case.service(web)["Spec"]["TaskTemplate"]["Networks"] == [
        {"Target": first, "Aliases": ["www"]}
    ]
    case.update(web, "--network-add", back)
    both = virtual(case, web, 2)
    assert both.keys() == ids.keys()
    assert both[first] == address
    case.update(web, "--network-rm", front)
    assert virtual(case, web, 1).keys() == both.keys() - {first}
    plain = case.create(*NONE, "--network", front, "--endpoint-mode", "dnsrr", suffix="rr")
    assert virtual(case, plain, 0) == {}


@scenario
def the_ingress_network(case: Case) -> None:
    """It is there, gives publishing services a virtual IP, and is kept for them."""
    web = case.create(*NONE, "--publish", "18790:80")
    ingress = shown(case, "ingress")
    assert ingress["Ingress"] is True
    [(network_id, address)] = virtual(case, web, 1).items()
    assert network_id == ingress["Id"]
    assert ip_interface(address).network == ip_network(ingress["IPAM"]["Config"][0]["Subnet"])
    status, said = case.side.api("DELETE", "/networks/ingress")
    text = r"ingress network cannot be removed because service \w+ depends on it"
    assert status == 400
    assert re.search(text, said["message"])
    refused = case.create_refused(*NONE, "--network", "ingress", suffix="in")
    text = 'Service cannot be explicitly attached to the ingress network "ingress"'
    assert refused.said == f"{RPC}InvalidArgument desc = {text}"


@scenario
def networks_of_every_host(case: Case) -> None:
    """A service may be in the host's network; there it has no address."""
    web = case.create(*NONE, "--network", "host")
    host = case.side.get("/networks/host?scope=swarm")
    assert (host["Driver"], host["Scope"]) == ("host", "swarm")
    assert virtual(case, web, 1) == {host["Id"]: ""}
    status, said = case.side.api("DELETE", "/networks/host")
    assert (status, said["message"]) == (403, "host is a pre-defined network and cannot be removed")
