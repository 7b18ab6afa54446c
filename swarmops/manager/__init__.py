"""The manager: control loops on the leader, and on every manager the dispatcher of agents.

The runtime starts one ``Manager`` on each manager node. It keeps the swarm as it should be by
reading and writing the store; it never runs a task and never speaks HTTP.
"""

from swarmops.manager.group import RaftGroup
from swarmops.manager.manager import Manager
from swarmops.manager.timing import ManagerTiming

__all__ = ["Manager", "ManagerTiming", "RaftGroup"]
