"""Which manager an agent dials."""

from __future__ import annotations

import itertools
import random
from types import SimpleNamespace
from typing import Any

import pytest

from swarmops.model.node import Node
from swarmops.model.session import Welcome
from swarmops.model.swarm import Peer
from swarmops.runtime import daemon

MANAGERS = ("10.0.0.1:2377", "10.0.0.2:2377", "10.0.0.3:2377")


class Session:
    """A session that stands."""

    def expect(self, period_s: float) -> None:
        """Hear how often the manager wants to be heard of."""


@pytest.mark.parametrize("seed", range(10))
async def test_the_manager_of_a_session_that_ended_is_not_the_next_one(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """It may have lost its power: whoever dials it then waits, and is missed meanwhile."""
    dialled: list[str] = []

    async def dial(addr: str, *_: object) -> Session:
        dialled.append(addr)
        return Session()

    monkeypatch.setattr(daemon, "dial_session", dial)
    peers = tuple(Peer(str(number), addr) for number, addr in enumerate(MANAGERS))
    state = SimpleNamespace(managers=peers, advertise_addr="10.0.0.9:2377")
    node: Any = SimpleNamespace(
        _membership=SimpleNamespace(current=lambda: state),
        _last_manager="",
        _session=None,
        _keeper=SimpleNamespace(want_issuer=lambda *_: None),
        _roles=SimpleNamespace(want=lambda _: None),
        rng=random.Random(seed),
        certificate=SimpleNamespace(tls=None),
        welcomed=SimpleNamespace(set=lambda: None),
    )
    for _ in range(20):
        await daemon.Daemon._dial(node)
        daemon.Daemon._on_node(node, Welcome(Node(id="n"), list(peers), 1.0, "root", "issuer"))
    assert set(dialled) == set(MANAGERS)
    assert all(before != after for before, after in itertools.pairwise(dialled))
