"""Docker's templates in a container's hostname, environment and mounts: ``{{.Task.Slot}}``.

Pure; called by ``agent.work`` when a task is prepared, and by the API, which refuses a service
whose tasks could not be. Only the placeholders that Docker documents for services exist; there are
no functions but ``index`` on the service's labels, and in secrets and configs those of Docker:
``secret``, ``config`` and ``env``, each with one name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from swarmops.model.base import given
from swarmops.model.service import ContainerSpec, Mount, VolumeOptions

_INDEX = re.compile(r'index\s+\.Service\.Labels\s+"([^"]*)"')
_CALL = re.compile(r'(\w+)\s+"([^"]*)"')
_LABEL = ".Service.Labels."

Functions = Mapping[str, Callable[[str], str]]
Options = VolumeOptions | UnsetType | None
T = TypeVar("T")
NO_FUNCTIONS: Functions = {}
EXAMPLE: Mapping[str, str] = {
    ".Node.ID": "nodeid",
    ".Node.Hostname": "nodeHostname",
    ".Node.Platform.OS": "os",
    ".Node.Platform.Architecture": "architecture",
    ".Service.ID": "serviceid",
    ".Service.Name": "servicename",
    ".Task.ID": "taskid",
    ".Task.Name": "taskname",
    ".Task.Slot": "1",
}
"""Every placeholder, as it would be for some task."""


def expand(
    text: str,
    values: Mapping[str, str],
    labels: Mapping[str, str],
    functions: Functions = NO_FUNCTIONS,
) -> str:
    """Fill in a template.

    ``values`` maps placeholders such as ``.Task.Slot`` to their text; ``labels`` are the service's;
    ``functions`` may be called with one string.
    Raises ``ValueError`` naming a placeholder that doesn't exist, or one that has no end.
    """
    if "{{" not in text:
        return text
    head, *rest = text.split("{{")  # not by a regular expression: the text may be a megabyte
    parts = [part.partition("}}") for part in rest]
    if not all(end for _, end, _ in parts):
        raise ValueError(f"the template {text!r} has an action without an end: write }}}} there.")

    def value(written: str) -> str:
        action = written.removeprefix("-").removesuffix("-").strip()
        if action in values:
            return values[action]
        if action.startswith(_LABEL):
            return labels.get(action.removeprefix(_LABEL), "")
        if index := _INDEX.fullmatch(action):
            return labels.get(index[1], "")
        if (call := _CALL.fullmatch(action)) and call[1] in functions:
            return functions[call[1]](call[2])
        known = ", ".join(sorted(values))
        raise ValueError(
            f"the template {{{{{written}}}}} is unknown: use one of {known}, {_LABEL}<label>."
        )

    return head + "".join(value(action) + after for action, _, after in parts)


def expand_container(
    spec: ContainerSpec, values: Mapping[str, str], labels: Mapping[str, str]
) -> ContainerSpec:
    """Fill in what of a container may be a template. Raises ``ValueError`` that begins as Docker's.

    ``values`` and ``labels`` are those of ``expand``.
    """

    def fill(text: str, where: str) -> str:
        return _within(where, lambda: expand(text, values, labels))

    def mounted(mount: Mount) -> Mount:
        source, target = given(mount.source, ""), given(mount.target, "")
        return replace(
            mount,
            source=fill(source, f"expanding mount source {json.dumps(source)}"),
            target=fill(target, f"expanding mount target {json.dumps(target)}"),
            volume_options=_volume(mount.volume_options, fill),
        )

    mounts = _within(
        "expanding mounts failed", lambda: [mounted(mount) for mount in given(spec.mounts, [])]
    )
    env = _within(
        "expanding env failed",
        lambda: [fill(each, f"expanding env {json.dumps(each)}") for each in given(spec.env, [])],
    )
    hostname = fill(given(spec.hostname, ""), "expanding hostname failed")
    return replace(spec, hostname=hostname, env=env, mounts=mounts)


def _volume(options: Options, fill: Callable[[str, str], str]) -> Options:
    """Fill in a volume's labels and its driver's options."""
    if options is UNSET or options is None:
        return options

    def mapped(texts: Mapping[str, str], where: str) -> dict[str, str]:
        return {
            key: fill(text, f"{where}: expanding map entry {json.dumps(key)}={json.dumps(text)}")
            for key, text in texts.items()
        }

    if labels := given(options.labels, None):
        options = replace(options, labels=mapped(labels, "expanding volume labels"))
    driver = given(options.driver_config, None)
    if driver is not None and (told := given(driver.options, None)):
        filled = mapped(told, "expanding volume driver options")
        options = replace(options, driver_config=replace(driver, options=filled))
    return options


def _within(where: str, fill: Callable[[], T]) -> T:
    """Return what ``fill`` does; its error says where it was."""
    try:
        return fill()
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
