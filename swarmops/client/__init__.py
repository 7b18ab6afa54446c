"""The Docker Engine API's client over any host's socket, whatever serves it there.

Used by the backends, the fleet and the CLI. It speaks the API's swarm part in the model's types and
decides nothing: what to ask and when is its callers' part.
"""

from swarmops.client.answers import Info, Ping, Version
from swarmops.client.api import Client, Filters
from swarmops.client.calls import OUT_OF_SEQUENCE
from swarmops.client.transport import Connect, SocketLike, UnreachableError, unix_socket

__all__ = [
    "OUT_OF_SEQUENCE",
    "Client",
    "Connect",
    "Filters",
    "Info",
    "Ping",
    "SocketLike",
    "UnreachableError",
    "Version",
    "unix_socket",
]
