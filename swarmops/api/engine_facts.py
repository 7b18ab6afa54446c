"""What a node with a Docker Engine says of itself: the engine's facts, and the swarm's over them.

Pure; used by ``swarmops.api.system``. Both sides are plain JSON objects as ``/info`` and
``/version`` have them.
"""

from __future__ import annotations

from typing import Any

_INFO_OURS = ("Swarm", "Name", "SystemTime", "LiveRestoreEnabled")
"""What an engine can't know: the swarm is not its own, and tasks outlive our daemon."""
_VERSION_OURS = ("ApiVersion", "MinAPIVersion")
"""Which versions may be asked for is said by whoever answers."""


def merged_info(ours: dict[str, Any], engines: Any) -> dict[str, Any]:
    """Lay the swarm's facts over the engine's."""
    if not isinstance(engines, dict):
        return ours
    return ours | engines | {key: ours[key] for key in _INFO_OURS}


def merged_version(ours: dict[str, Any], engines: Any) -> dict[str, Any]:
    """Return the engine's version with the versions of the API that are served here.

    The engine's components come first, and swarmops is one more of them.
    """
    if not isinstance(engines, dict):
        return ours
    name = ours["Platform"]["Name"]
    behind = [one for one in engines.get("Components") or [] if isinstance(one, dict)]
    components = [*behind, *({**one, "Name": name} for one in ours["Components"])]
    api = {key: ours[key] for key in _VERSION_OURS}
    return ours | engines | api | {"Components": components}
