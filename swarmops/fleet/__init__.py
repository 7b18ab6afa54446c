"""The operator's side: files in, a plan out, and the plan carried out over SSH.

Used by ``swarmops.cli``; never imports the node's side, and imports what is slow (fabric, docker,
aiohttp) only where it is needed.
"""
