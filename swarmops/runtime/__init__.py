"""The node daemon: an agent always, a manager when the node's role says so.

Started by systemd or by ``swarmops.supervisor`` as ``python -m swarmops.runtime``. It alone wires
the agent, the manager, Raft, the API and the certificates together; none of them knows another.
"""
