"""kill -9 of an apply in every step that there is: the next one goes on from there, to the end.

The tests share two hosts, bare at first, and each begins where the one before ended.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from swarmops.fleet.steps import StepKind
from tests.lab.hosts import Host
from tests.lab.killing import SEEN, killed_in
from tests.lab.lab import Lab
from tests.lab.swarm import Swarm, ask, drawn, web
from tests.lab.whole import whole

EVERY = ""
SLEEPER = {"image": "host", "command": ["sleep", "1000"], "stop_grace_period": "1s"}


@pytest.fixture(scope="module")
def swarm(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    """Two hosts, both may be managers; the first test makes them a swarm."""
    with lab.claim(2, engine=False) as hosts:
        swarm = drawn(hosts, tmp_path_factory, "killed")
        swarm.write(wanted(managers=2), managers=hosts)
        yield swarm


def wanted(
    managers: int,
    host2: Mapping[str, Any] | None = None,
    uses: Mapping[str, Any] | None = None,
    **top: Any,
) -> dict[str, Any]:
    """Return a playbook: so many managers, what `host2` is like, what `web` uses, and more."""
    return {
        "swarm": {"name": "killed", "managers": managers},
        "nodes": {"host2": host2 or {}},
        "prune": True,
        **top,
        "services": {"web": {**web(3), **(uses or {})}, **top.get("services", {})},
    }


def materials(version: str) -> dict[str, Any]:
    """Return a secret and a config with this content, and a service that uses them."""
    return {
        "secrets": {"token": {"command": ["echo", version]}},
        "configs": {"page": {"content": f"page {version}\n"}},
        "uses": {"secrets": ["token"], "configs": ["page"]},
    }


def test_an_apply_that_makes_the_swarm(swarm: Swarm) -> None:
    """Killed in every step from bare hosts on, half-way through the upload of the runtime too."""
    killed_in(swarm, EVERY)
    assert {"install", "start", "init", "join", "update_node", "create_service"} == SEEN
    swarm.apply()
    whole(swarm, managers=2)


def test_an_apply_that_demotes_drains_and_adds(swarm: Swarm) -> None:
    """One manager less, its host drained; what `web` uses from now on, and another service."""
    drained = {"availability": "drain", "labels": {"disk": "ssd"}}
    more: dict[str, Any] = {"services": {"sleeper": SLEEPER}, "networks": {"back": {}}}
    swarm.play(wanted(1, drained, **materials("one"), **more))
    killed_in(swarm, "update_node:host2", "create_network", "create_secret", "create_config")
    killed_in(swarm, "update_service")
    swarm.apply()
    whole(swarm, managers=1)
    assert set(swarm.placed().values()) == {"host1"}


def test_an_apply_that_takes_a_host_back(swarm: Swarm) -> None:
    """It has two nodes: it left the one, and of the other, removed by somebody, it doesn't know."""
    first, second = swarm.hosts
    assert ask(second, "POST", "/swarm/leave")[0] == 200
    join_by_hand(second, first)
    node = ask(second, "GET", "/info")[1]["Swarm"]["NodeID"]
    assert ask(first, "DELETE", f"/nodes/{node}?force=1")[0] == 200
    killed_in(swarm, "remove_node", "leave", "join")
    swarm.apply()
    whole(swarm, managers=1)
    assert len(swarm.all_nodes()) == 2


def join_by_hand(host: Host, manager: Host) -> None:
    """Make a host a worker through its own socket, as `docker swarm join` does."""
    token = ask(manager, "GET", "/swarm")[1]["JoinTokens"]["Worker"]
    body = {
        "ListenAddr": "0.0.0.0:2377",
        "RemoteAddrs": [f"{manager.address}:2377"],
        "JoinToken": token,
    }
    assert ask(host, "POST", "/swarm/join", body)[0] == 200


def test_an_apply_that_promotes_rotates_and_prunes(swarm: Swarm) -> None:
    """One manager more, new content, and what is of no use any more goes."""
    swarm.play(wanted(2, {"availability": "active"}, **materials("two")))
    killed_in(swarm, "update_node:host2", "remove_service", "remove_secret", "remove_config")
    swarm.apply()
    whole(swarm, managers=2)
    for kind, name in (("secrets", "token.v2"), ("configs", "page.v2")):
        assert [one["Spec"]["Name"] for one in ask(swarm["host1"], "GET", f"/{kind}")[1]] == [name]


def test_no_kind_of_step_was_left_out() -> None:
    """A kind that is added to the product needs its place above."""
    assert {kind.value for kind in StepKind} == SEEN
