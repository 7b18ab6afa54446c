"""When a certificate is due for renewal: at a random point between 50 and 80 % of its life.

Source: SwarmKit's rule. The spread keeps nodes that joined together from renewing together.
"""

from __future__ import annotations

import random
from datetime import datetime

from swarmops.pki.wire import Described

EARLIEST, LATEST = 0.5, 0.8


def renewal_due(certificate: Described, now: datetime, rng: random.Random) -> float:
    """Return how many seconds to wait before renewing; 0 if the time has come."""
    life = certificate.valid_until - certificate.valid_from
    due = certificate.valid_from + life * rng.uniform(EARLIEST, LATEST)
    return max(0.0, (due - now).total_seconds())
