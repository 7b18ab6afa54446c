"""What to send so that a service is as the playbook says, and what that changes.

Called by the planner; pure. Only what the playbook says is compared: what it leaves open (replicas,
a ``docker service update`` of something else) stays as it is. That a key was taken out of the
playbook shows in a label, which keeps the digest of what was last applied; then the spec is
replaced as a whole, but for what servers fill in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from swarmops.fleet.steps import Change
from swarmops.model.base import given, to_builtins
from swarmops.model.service import ServiceSpec

PLAYBOOK_LABEL = "swarmops.playbook"
"""Service label: the name of the playbook that the service is from."""
SPEC_LABEL = "swarmops.spec"
"""Service label: digest of what the playbook said when it was last applied."""
ENVIRONMENT = "Env."
"""How the name of a change begins that is about a variable of the environment."""
_DIGEST_CHARS = 12
_FILLED = (
    ("TaskTemplate", "ForceUpdate"),
    ("TaskTemplate", "Runtime"),
    ("TaskTemplate", "ContainerSpec", "Isolation"),
    ("TaskTemplate", "Placement", "Platforms"),
    ("UpdateConfig", "FailureAction"),
    ("RollbackConfig", "FailureAction"),
    ("Mode", "Replicated", "Replicas"),
)
"""What servers, or people between two applies, fill in where the playbook says nothing."""
_SERVERS_OWN = {"SecretID", "ConfigID"}
_SHORT = ("TaskTemplate.", "ContainerSpec.", "Mode.Replicated.", "EndpointSpec.")
Json = dict[str, Any]


def labelled(spec: ServiceSpec, playbook: str) -> ServiceSpec:
    """Return the spec with the labels that tell where it is from."""
    digest = hashlib.sha256(msgspec.json.encode(spec, order="sorted")).hexdigest()
    labels = given(spec.labels, {}) or {}
    ours = {PLAYBOOK_LABEL: playbook, SPEC_LABEL: digest[:_DIGEST_CHARS]}
    return msgspec.structs.replace(spec, labels={**labels, **ours})


def updated(wanted: ServiceSpec, present: ServiceSpec) -> tuple[ServiceSpec, tuple[Change, ...]]:
    """Return the spec to send and what it changes; no changes: there is nothing to send.

    ``wanted`` is labelled.
    """
    want, have = _plain(wanted), _plain(present)
    _carry_over(want, have)
    same_words = _label(want) == _label(have)
    changes = tuple(_differences(want, have, "", subset=same_words))
    return msgspec.convert(want, ServiceSpec), changes


def _plain(spec: ServiceSpec) -> Json:
    plain: Json = to_builtins(spec)
    return plain


def _label(spec: Json) -> object:
    return (spec.get("Labels") or {}).get(SPEC_LABEL)


def _carry_over(want: Json, have: Json) -> None:
    """Take over into ``want`` what the playbook leaves open and others have filled in."""
    for path in _FILLED:
        *parents, last = path
        source, target = _at(have, parents), _at(want, parents)
        if source is None or last not in source or (target is not None and last in target):
            continue
        if target is None:
            if last != "Platforms" or not source[last]:
                continue  # a section that the playbook lacks stays absent
            target = want["TaskTemplate"].setdefault("Placement", {})
        if last != "FailureAction" or source[last] == "pause":  # Docker's default
            target[last] = source[last]
    want_container = _at(want, ["TaskTemplate", "ContainerSpec"]) or {}
    have_container = _at(have, ["TaskTemplate", "ContainerSpec"]) or {}
    pinned = str(have_container.get("Image", ""))
    if "Image" in want_container and pinned.startswith(f"{want_container['Image']}@sha256:"):
        want_container["Image"] = pinned


def _at(spec: Json, path: list[str]) -> Json | None:
    value: Any = spec
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else None


def _differences(want: Any, have: Any, path: str, *, subset: bool) -> Iterator[Change]:
    """Yield the leaves that differ; with ``subset`` only those that ``want`` has."""
    if isinstance(want, dict) and isinstance(have, dict):
        keys = list(want) if subset else [*want, *(key for key in have if key not in want)]
        for key in keys:
            if key not in _SERVERS_OWN:
                yield from _differences(
                    want.get(key), have.get(key), f"{path}.{key}" if path else key, subset=subset
                )
    elif _networks(want, path) and _networks(have, path):
        # The server keeps networks by ID and the playbook names them: the label tells of changes.
        if not subset and len(want) != len(have):
            yield _change(path, want, have)
    elif path.endswith(".ContainerSpec.Env"):
        yield from _variables(want or [], have or [])
    elif isinstance(want, list) and isinstance(have, list) and len(want) == len(have):
        if any(
            True
            for one, other in zip(want, have, strict=True)
            for _ in _differences(one, other, "", subset=subset)
        ):
            yield _change(path, want, have)
    elif not _same(want, have, path):
        yield _change(path, want, have)


def _variables(want: list[str], have: list[str]) -> Iterator[Change]:
    """Yield each variable that differs, so that its name can be told without its value."""
    if want == have:
        return
    new, old = (dict(entry.partition("=")[::2] for entry in one) for one in (want, have))
    names = [name for name in dict.fromkeys([*new, *old]) if new.get(name) != old.get(name)]
    for name in names:
        yield Change(f"{ENVIRONMENT}{name}", old.get(name), new.get(name))
    if not names:
        order = (" ".join(entry.partition("=")[0] for entry in one) for one in (have, want))
        yield Change("order of Env", *order)


def _networks(value: Any, path: str) -> bool:
    return isinstance(value, list) and path.endswith("Networks")


def _same(want: Any, have: Any, path: str) -> bool:
    """Say whether two leaves mean the same; an absent one means what is empty, and no mode."""
    if path.startswith("Mode."):
        return bool(want == have)
    return bool(want == have) or (not want and not have)


def _change(path: str, want: Any, have: Any) -> Change:
    for prefix in _SHORT:
        path = path.removeprefix(prefix)
    return Change(path, _text(have), _text(want))


def _text(value: Any) -> str | None:
    if value is None or value in ([], {}, ""):
        return None
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
