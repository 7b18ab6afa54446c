"""The worker's half of a node: it keeps a session with a manager and runs the tasks it is given.

``runtime`` starts one ``agent.Agent`` on every node. Nothing here knows of Raft, the store or any
control loop: what the swarm wants comes as frames, what happened goes back as frames.
"""
