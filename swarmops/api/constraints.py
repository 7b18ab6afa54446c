"""The grammar of placement constraints: ``node.labels.disk == ssd``. Checks only; pure.

Source: SwarmKit's ``constraint.Parse``. Whether a node fits is the scheduler's business.
"""

from __future__ import annotations

import re

from swarmops.api.errors import rpc

OPERATORS = ("==", "!=")
_KEY = re.compile(r"[a-z_][a-z0-9\-_.]+", re.IGNORECASE)
_VALUE = re.compile(r"[a-z0-9:\-_\s.*()?+\[\]\\^$|/]+", re.IGNORECASE)


def check_constraint(text: str) -> None:
    """Raise ApiError if this is no constraint; with 500, as Docker answers."""
    operator = next((one for one in OPERATORS if one in text), None)
    if operator is None:
        raise rpc("Unknown", f"constraint expected one operator from {', '.join(OPERATORS)}")
    key, _, value = (part.strip() for part in text.partition(operator))
    if not _KEY.fullmatch(key):
        raise rpc("Unknown", f"key '{key}' is invalid")
    if not _VALUE.fullmatch(value):
        raise rpc("Unknown", f"value '{value}' is invalid")
