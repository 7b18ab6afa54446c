"""Docker's templates in a container's hostname, environment and mounts: ``{{.Task.Slot}}``.

Pure; called by ``work`` when a task is prepared. Only the placeholders that Docker documents for
services exist; there are no functions but ``index`` on the service's labels, and in secrets and
configs those of Docker: ``secret``, ``config`` and ``env``, each with one name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from swarmops.errors import InputError

_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")
_INDEX = re.compile(r'index\s+\.Service\.Labels\s+"([^"]*)"')
_CALL = re.compile(r'(\w+)\s+"([^"]*)"')
_LABEL = ".Service.Labels."


Functions = Mapping[str, Callable[[str], str]]
NO_FUNCTIONS: Functions = {}


def expand(
    text: str,
    values: Mapping[str, str],
    labels: Mapping[str, str],
    functions: Functions = NO_FUNCTIONS,
) -> str:
    """Fill in a template.

    ``values`` maps placeholders such as ``.Task.Slot`` to their text; ``labels`` are the service's;
    ``functions`` may be called with one string.
    Raises ``InputError`` naming a placeholder that doesn't exist.
    """

    def value(match: re.Match[str]) -> str:
        action = match[1]
        if action in values:
            return values[action]
        if action.startswith(_LABEL):
            return labels.get(action.removeprefix(_LABEL), "")
        if index := _INDEX.fullmatch(action):
            return labels.get(index[1], "")
        if (call := _CALL.fullmatch(action)) and call[1] in functions:
            return functions[call[1]](call[2])
        known = ", ".join(sorted(values))
        raise InputError(
            f"the template {match[0]} is unknown: use one of {known}, {_LABEL}<label>."
        )

    return _ACTION.sub(value, text) if "{{" in text else text
