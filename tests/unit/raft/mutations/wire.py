"""Who may speak, and how much: ``streams``, ``frames``, and the runtime's ``port`` and ``dial``."""

# ruff: noqa: ANN001, ARG001 - stand-ins, see the sim's

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec

from swarmops.model.node import Role
from swarmops.pki import tls
from swarmops.pki.identity import ROOT_FILE
from swarmops.raft import ends, frames, messages, streams
from swarmops.runtime import dial, port
from tests.unit.raft import test_wire
from tests.unit.raft.mutations.row import Mutation, replace
from tests.unit.runtime import test_port


def _decode_pickle(body: bytes) -> Any:
    try:
        return messages.decode(body)
    except msgspec.DecodeError:
        return pickle.loads(body)


def _greet_anyone(self, accepted, hello, node_id) -> str:
    return str(hello.sender)


async def _connect_to_anyone(self, peer) -> str:
    honest = self._dial

    async def believe(addr) -> Any:
        return (await honest(addr))[0], peer.member.node_id

    with mock.patch.object(self, "_dial", believe):
        return await _connect_once(self, peer)


_connect_once = streams.StreamTransport._connect_once


def _ban_nobody(self, call, is_banned=None) -> None:
    _transport_init(self, call)


_transport_init = streams.StreamTransport.__init__


def _as_a_manager(certificate: Any) -> Any:
    """Read whose a certificate is, and take the node for a manager of this swarm."""
    peer = tls.peer_identity(certificate)
    return peer and msgspec.structs.replace(peer, role=Role.MANAGER, cluster_id=test_port.CLUSTER)


class _AnyProtocol(str):
    """The name of a protocol that every other one, and none, passes for."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


def _trust_whoever_is_near(context, folder) -> Any:
    """Trust the root of each node whose files lie beside a node's own."""
    for root in sorted(folder.parent.glob(f"*/{ROOT_FILE}")):
        context.load_verify_locations(root)
    return context


def _dial_anyone(self, alpn) -> Any:
    return _trust_whoever_is_near(_client(self, alpn), self._folder)


_client = tls.NodeTLS.client


def _hand_over_to_anyone(self, connection, name, listener) -> None:
    _trust_whoever_is_near(self._newest, self._folder)
    _hand_over(self, connection, name, listener)


_hand_over = tls.NodeTLS._hand_over


def _on_port(test: Callable[..., Any], *arguments: Any) -> Callable[..., None]:
    """Make a test of a manager's port one without a fixture that needs a running loop."""

    def play(tmp_path: Path) -> None:
        async def whole() -> None:
            async with test_port.listening(tmp_path) as world:
                await test(world, tmp_path, *arguments)

        asyncio.run(whole())

    play.__name__ = test.__name__
    return play


def _unbounded() -> ExitStack:
    stack = ExitStack()
    for name in ("_QUEUE_BYTES_MAX", "_QUEUE_MESSAGES_MAX"):
        stack.enter_context(mock.patch.object(ends, name, 1 << 40))
    return stack


TABLE = [
    Mutation(
        "pickle is understood",
        "the first frame is unpickled: remote code execution",
        replace(ends, "decode", _decode_pickle),
        test_wire.test_what_is_not_a_members_proper_message_ends_the_connection,
        {"data": test_wire.HELLO + test_wire.frame(pickle.dumps({"type": "append_entries"}))},
    ),
    Mutation(
        "anybody may speak",
        "impersonation without authentication",
        replace(streams.StreamTransport, "greeted", _greet_anyone),
        test_wire.test_a_certificate_of_another_node_speaks_for_nobody,
    ),
    Mutation(
        "whoever answers at a member's address is that member",
        "the group's log is told to another node (ours, found by reading)",
        replace(streams.StreamTransport, "_connect_once", _connect_to_anyone),
        test_wire.test_another_node_at_a_members_address_hears_nothing,
    ),
    Mutation(
        "a removed node is a stranger like any other",
        "a removed node, whose certificate is still a manager's, is listened to",
        replace(streams.StreamTransport, "__init__", _ban_nobody),
        test_wire.test_a_stranger_is_heard_only_when_the_member_wants_it,
        {"node_id": "banned", "knows": True, "heard": False},
    ),
    Mutation(
        "a worker that dials may speak raft",
        "impersonation: any certificate of the swarm is a manager's",
        replace(port, "peer_identity", _as_a_manager),
        _on_port(
            test_port.test_raft_is_refused_to_workers_and_to_other_swarms,
            Role.WORKER,
            test_port.CLUSTER,
        ),
    ),
    Mutation(
        "a manager of another swarm that dials may speak raft",
        "impersonation: two swarms of one root are one",
        replace(port, "peer_identity", _as_a_manager),
        _on_port(
            test_port.test_raft_is_refused_to_workers_and_to_other_swarms, Role.MANAGER, "another"
        ),
    ),
    Mutation(
        "a worker that is dialled is spoken to",
        "impersonation: any certificate of the swarm is a manager's",
        replace(dial, "peer_identity", _as_a_manager),
        test_port.test_raft_is_spoken_only_to_a_manager_of_this_swarm,
        {"who": "a worker"},
    ),
    Mutation(
        "who dials under another root may speak raft",
        "impersonation: a certificate that anybody signed is a manager's",
        replace(tls.NodeTLS, "_hand_over", _hand_over_to_anyone),
        _on_port(test_port.test_raft_is_refused_to_a_certificate_of_another_root),
    ),
    Mutation(
        "who is dialled under another root is spoken to",
        "impersonation: a certificate that anybody signed is a manager's",
        replace(tls.NodeTLS, "client", _dial_anyone),
        test_port.test_raft_is_spoken_only_to_a_manager_of_this_swarm,
        {"who": "another root"},
    ),
    Mutation(
        "whatever a manager that dials chose is raft",
        "another protocol's bytes are read as raft's",
        replace(port, "ALPN_RAFT", _AnyProtocol(tls.ALPN_RAFT)),
        _on_port(test_port.test_a_manager_that_chose_another_protocol_speaks_no_raft),
    ),
    Mutation(
        "who is dialled is spoken to though it did not choose raft",
        "another protocol of the port, or none, is told the log",
        replace(dial, "ALPN_RAFT", _AnyProtocol(tls.ALPN_RAFT)),
        test_port.test_raft_is_spoken_only_to_a_manager_of_this_swarm,
        {"who": "another protocol"},
    ),
    Mutation(
        "what was dialled lasts as long as the kernel likes",
        "a manager that lost its power is sent to for a quarter of an hour (ours)",
        replace(dial, "end_when_silent", lambda _: None),
        _on_port(test_port.test_raft_connections_to_dead_machines_end_within_seconds),
    ),
    Mutation(
        "what was accepted lasts as long as the kernel likes",
        "each loss of power leaves a connection open for ever (ours)",
        replace(port, "end_when_silent", lambda _: None),
        _on_port(test_port.test_raft_connections_to_dead_machines_end_within_seconds),
    ),
    Mutation(
        "the removed may speak",
        "a removed node never hears of its removal",
        replace(streams.StreamTransport, "greeted", _greet_anyone),
        test_wire.test_a_removed_member_that_dials_is_told,
    ),
    Mutation(
        "frames of any size",
        "no frame limit",
        replace(frames, "FRAME_BYTES_MAX", 1 << 40),
        test_wire.test_what_is_not_a_members_proper_message_ends_the_connection,
        {"data": test_wire.HELLO + (messages.FRAME_BYTES_MAX + 1).to_bytes(4, "big")},
    ),
    Mutation(
        "a queue without an end",
        "a slow follower costs unbounded memory",
        _unbounded,
        test_wire.test_a_slow_peer_costs_bounded_memory,
    ),
]
