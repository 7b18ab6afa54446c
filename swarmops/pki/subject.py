"""How a role is spelled in a certificate, and the error for certificates that can't be used.

Apart from ``root``, because whoever only reads certificates needs no library for making them.
"""

from __future__ import annotations

from swarmops.errors import SwarmopsError
from swarmops.model.node import Role

UNIT = {Role.MANAGER: "swarm-manager", Role.WORKER: "swarm-worker"}
"""The organizational unit of a certificate's subject."""


class CertificateError(SwarmopsError):
    """A certificate, a key or a request for one can't be used; says why."""
