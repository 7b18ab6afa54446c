"""Host patterns choose what they choose in Ansible."""

from __future__ import annotations

import pytest

from swarmops.errors import InputError
from swarmops.fleet.host import Host
from swarmops.fleet.inventory import Inventory
from swarmops.fleet.patterns import match_hosts

NAMES = ("web1", "web2", "web3", "db1", "db2")
INVENTORY = Inventory(
    path="inv.yml",
    hosts={name: Host(name=name, address=name) for name in NAMES},
    groups={
        "all": NAMES,
        "web": ("web1", "web2", "web3"),
        "db": ("db1", "db2"),
        "zone_a": ("web1", "db1"),
        "zone_b": ("db2", "web3", "web2"),
    },
)


@pytest.mark.parametrize(
    ("pattern", "hosts"),
    [
        ("all", "web1 web2 web3 db1 db2"),
        ("*", "web1 web2 web3 db1 db2"),
        ("web2", "web2"),
        ("web:db1", "web1 web2 web3 db1"),
        ("db1,web1", "web1 db1"),
        ("web:!web2", "web1 web3"),
        ("!web", "db1 db2"),
        ("web:&zone_a", "web1"),
        ("all:&zone_a:!db", "web1"),
        ("*1", "web1 db1"),
        (r"~(web|db)[12]", "web1 web2 db1 db2"),
        (r"~w.+:db", None),
        ("web[0]", "web1"),
        ("db[1:2]", "db2"),
        ("d[1:2]", None),
        ("w*[0]", "web1"),
        ("web[-1]", "web3"),
        ("web[0:1]", "web1 web2"),
        ("web[1:]", "web2 web3"),
        ("web[1:]:db[0]", "web2 web3 db1"),
        ("zone_b", "web2 web3 db2"),
        ("zone_b[0]", "db2"),
        ("zone_b[-1]", "web2"),
        ("zone_b[0:1]", "web3 db2"),
        ("wbe", None),
        ("web[7]", None),
        ("web:!web*", None),
        ("~(", None),
        ("", None),
        (" , ", None),
        ("!", None),
    ],
)
def test_patterns(pattern: str, hosts: str | None):
    """A pattern chooses hosts in the inventory's order, or says that it chooses none."""
    if hosts is None:
        with pytest.raises(InputError):
            match_hosts(pattern, INVENTORY)
    else:
        assert match_hosts(pattern, INVENTORY) == hosts.split()


def test_an_ipv6_address_is_a_name():
    """A host that is called by its address is meant by it, colons and all."""
    hosts = {name: Host(name=name, address=name) for name in ("2001:db8::1", "2001:db8::2")}
    inventory = Inventory(path="inv.yml", hosts=hosts, groups={"all": tuple(hosts)})
    assert match_hosts("2001:db8::2", inventory) == ["2001:db8::2"]


def test_ranges_of_names():
    """Where no group has the name, brackets are the range that the inventory would write."""
    hosts = {name: Host(name=name, address=name) for name in ("h1", "h2", "h3")}
    inventory = Inventory(path="inv.yml", hosts=hosts, groups={"all": tuple(hosts)})
    assert match_hosts("h[2:3]", inventory) == ["h2", "h3"]


def test_a_wrong_name_gets_the_nearest():
    """A misspelt host is answered with the nearest right one."""
    with pytest.raises(InputError, match="did you mean 'web1'"):
        match_hosts("wbe1", INVENTORY)
