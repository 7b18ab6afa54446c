"""The shapes of everything that is stored, sent or served, named as in the Docker Engine API.

Used by every other package; imports nothing of ours and does no I/O. Attributes are Docker's names
in snake case (``service_id`` is ``ServiceID`` on the wire).
"""
