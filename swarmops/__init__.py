"""swarmops: a self-healing swarm of containers or processes, declared in one file.

The operator's side (``cli``, ``fleet``, ``backends``, ``client``) and the node's side (``runtime``,
``manager``, ``agent``, ``api``, ``store``, ``raft``, ``pki``) meet only in ``model`` and over the
Docker Engine API. docs/architecture.md draws the whole.
"""

__version__ = "0.1.0"
