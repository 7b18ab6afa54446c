"""Making a new swarm: its root, its first manager, its first objects.

Called by ``control`` for ``docker swarm init``; whoever calls cleans up if it raises.
"""

from __future__ import annotations

import random

from msgspec.structs import replace

from swarmops.manager.ca import describe, new_tokens
from swarmops.model.base import given
from swarmops.model.defaults import (
    ADDR_POOLS,
    DATA_PATH_PORT,
    NODE_CERT_EXPIRY_S,
    SUBNET_SIZE,
)
from swarmops.model.ids import new_id
from swarmops.model.node import (
    Availability,
    ManagerStatus,
    Node,
    NodeDescription,
    NodeInternal,
    NodeSpec,
    NodeStatus,
    Reachability,
    Role,
)
from swarmops.model.swarm import (
    Cluster,
    ClusterInternal,
    EncryptionConfig,
    InitRequest,
    Peer,
    SwarmSpec,
)
from swarmops.pki.identity import Credentials
from swarmops.pki.root import RootCA, issue, new_request, new_root, tls_info
from swarmops.pki.unlock_key import new_unlock_key
from swarmops.runtime.address import advertise_address, listen_address
from swarmops.runtime.daemon import Daemon
from swarmops.runtime.dial import join_address, split_address
from swarmops.runtime.state import NodeState, new_raft_id
from swarmops.store import Transaction
from swarmops.store.new_networks import first_networks


async def found(daemon: Daemon, request: InitRequest) -> str:
    """Make the daemon the first manager of a new swarm; return its node ID."""
    listen = listen_address(given(request.listen_addr, ""))
    advertise = advertise_address(given(request.advertise_addr, ""), listen)
    root = new_root(daemon.now())
    node_id, cluster_id = new_id(daemon.rng), new_id(daemon.rng)
    credentials = _credentials(daemon, root, node_id, cluster_id)
    state = NodeState(
        node_id=node_id,
        cluster_id=cluster_id,
        listen_addr=join_address(*listen),
        advertise_addr=advertise,
        manager=True,
        certificate=describe(credentials.cert_pem, root.cert_pem, root.cert_pem),
        certified=Role.MANAGER,
        raft_id=new_raft_id(daemon.rng),
    )
    state = replace(state, managers=(Peer(node_id=state.node_id, addr=advertise),))
    daemon.adopt(state, credentials)
    part = daemon.seat.new_part(state)
    await part.bootstrap()
    daemon.seat.take(part)
    transaction = Transaction()
    cluster = _cluster(request, root, state, daemon.rng)
    transaction.put(cluster)
    for network in first_networks(cluster, daemon.rng):
        transaction.put(network)
    transaction.put(_node(request, state, daemon.hostname))
    await part.store.commit(transaction)
    daemon.start_agent()
    return state.node_id


def _credentials(daemon: Daemon, root: RootCA, node_id: str, cluster_id: str) -> Credentials:
    key_pem, csr_pem = new_request()
    cert_pem = issue(
        root,
        csr_pem,
        node_id=node_id,
        role=Role.MANAGER,
        cluster_id=cluster_id,
        now=daemon.now(),
        lifetime_s=float(NODE_CERT_EXPIRY_S),
    )
    return Credentials(key_pem=key_pem, cert_pem=cert_pem, root_pem=root.cert_pem)


def _cluster(request: InitRequest, root: RootCA, state: NodeState, rng: random.Random) -> Cluster:
    return Cluster(
        id=state.cluster_id,
        spec=given(request.spec, SwarmSpec()),
        tls_info=tls_info(root.cert_pem),
        default_addr_pool=given(request.default_addr_pool, ADDR_POOLS) or None,
        subnet_size=given(request.subnet_size, 0) or SUBNET_SIZE,
        data_path_port=given(request.data_path_port, 0) or DATA_PATH_PORT,
        internal=ClusterInternal(
            ca_cert=root.cert_pem,
            ca_key=root.key_pem,
            join_tokens=new_tokens(root.cert_pem, rng),
            unlock_key=new_unlock_key(rng) if _locks(request) else "",
        ),
    )


def _locks(request: InitRequest) -> bool:
    config = given(given(request.spec, SwarmSpec()).encryption_config, EncryptionConfig())
    return given(config.auto_lock_managers, False)


def _node(request: InitRequest, state: NodeState, hostname: str) -> Node:
    address, _ = split_address(state.advertise_addr)
    return Node(
        id=state.node_id,
        spec=NodeSpec(
            labels={},
            role=Role.MANAGER,
            availability=Availability(given(request.availability, "") or "active"),
        ),
        description=NodeDescription(hostname=hostname),
        status=NodeStatus(addr=address),
        manager_status=ManagerStatus(
            leader=True, reachability=Reachability.REACHABLE, addr=state.advertise_addr
        ),
        internal=NodeInternal(role=Role.MANAGER, raft_id=state.raft_id),
    )
