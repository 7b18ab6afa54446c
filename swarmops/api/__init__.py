"""The Docker-compatible HTTP API of a node: ``make_app`` over what the runtime offers it.

Served by the runtime on the node's unix socket; one file a resource. It never touches the network,
the disk or Raft itself: it reads the local replica and proposes through the store. What is not
swarm mode's goes to the Docker Engine behind the node, if there is one (``engine``).
"""

from swarmops.api.app import make_app, make_network_app
from swarmops.api.control import HostFacts, LocalState, NodeControl

__all__ = ["HostFacts", "LocalState", "NodeControl", "make_app", "make_network_app"]
