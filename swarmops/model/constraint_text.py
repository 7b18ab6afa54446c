"""The grammar of placement constraints: ``node.labels.disk == ssd``. Pure.

The API refuses what isn't of it, the scheduler reads what is: both ask here. Source: SwarmKit's
``constraint.Parse``. Whether a node fits is the scheduler's business.
"""

from __future__ import annotations

import re

OPERATORS = ("==", "!=")
_KEY = re.compile(r"[a-z_][a-z0-9\-_.]+", re.IGNORECASE)
_VALUE = re.compile(r"[a-z0-9:\-_\s.*()?+\[\]\\^$|/]+", re.IGNORECASE)


def split(expression: str) -> tuple[str, bool, str]:
    """Return key, whether it is ``==``, and value. Raises ValueError in Docker's words."""
    operator = next((one for one in OPERATORS if one in expression), None)
    if operator is None:
        raise ValueError(f"constraint expected one operator from {', '.join(OPERATORS)}")
    key, _, value = (part.strip() for part in expression.partition(operator))
    if not _KEY.fullmatch(key):
        raise ValueError(f"key '{key}' is invalid")
    if not _VALUE.fullmatch(value):
        raise ValueError(f"value '{value}' is invalid")
    return key, operator == "==", value
