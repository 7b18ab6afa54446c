"""Published ports of a node: each accepts connections and passes them on to a running task.

Two halves. ``keeper`` is the daemon's: it starts the proxy once the swarm publishes anything and
tells it the table. The rest is the proxy, ``python -m swarmops.agent.ingress``: a process of its
own, for three reasons. Connections outlive a restart of the daemon, as tasks do. Traffic never
holds up heartbeats, nor the other way round: at full speed the proxy is one busy core. And a node
of a swarm that publishes nothing pays nothing for it; else it is 10 MB. It speaks to the daemon
in lines of JSON over a unix socket, and imports the standard library alone.
"""
