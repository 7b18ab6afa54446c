"""The part of a plan that makes networks, secrets and configs, and removes versions of no use.

Called by ``swarmops.fleet.plan``; pure. They come before the services that use them; an old version
goes after the services have left it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from swarmops.fleet.materials import Material
from swarmops.fleet.networks import difference
from swarmops.fleet.observation import SwarmView
from swarmops.fleet.playbook import Playbook
from swarmops.fleet.steps import Change, Step, StepKind
from swarmops.fleet.versions import Versions, content_digest, digest_of, versions_of
from swarmops.model import defaults
from swarmops.model.base import given, to_builtins
from swarmops.model.secret import Config, Secret
from swarmops.model.service import ServiceSpec

_CREATE = {"secret": StepKind.CREATE_SECRET, "config": StepKind.CREATE_CONFIG}
_REMOVE = {"secret": StepKind.REMOVE_SECRET, "config": StepKind.REMOVE_CONFIG}


class Supplies(msgspec.Struct):
    """The steps, and by what name services have what they use."""

    steps: list[Step] = []
    problems: dict[str, str] = {}
    names: dict[tuple[str, str], str] = {}
    """(kind, the playbook's name) → the name of the version to use."""
    makers: dict[tuple[str, str], str] = {}
    """(kind, name in the swarm) → the step that makes it."""
    old: list[Secret | Config] = []


def supplies(playbook: Playbook, swarm: SwarmView | None, after: tuple[str, ...]) -> Supplies:
    """Return what must be there before the services."""
    result = Supplies()
    there = {one.name: one for one in (swarm.networks if swarm else ())}
    for name, wanted in playbook.networks.items():
        if name not in there:
            made = to_builtins(wanted)
            made.pop("Name", None)
            step = _creation(
                StepKind.CREATE_NETWORK,
                name,
                after,
                digest=digest_of(made),
                details=tuple(Change(key, None, _text(made[key])) for key in made),
            )
            result.steps.append(step)
            result.makers["network", name] = step.id
        elif lack := difference(wanted, there[name]):
            result.problems[f"network {name}"] = (
                f"{lack}: no network can be changed: remove it first"
                f" ('docker network rm {name}'), or correct the playbook"
            )
    for material in playbook.materials:
        present = (swarm.secrets if material.kind == "secret" else swarm.configs) if swarm else ()
        versions: Versions = versions_of(material, playbook.name, present)
        name = versions.current
        if not name:
            name = versions.next
            step = _creation(
                _CREATE[material.kind],
                name,
                after,
                digest=content_digest(material, f"{swarm.id if swarm else ''}/{name}"),
                details=_details(material),
            )
            result.steps.append(step)
            result.makers[material.kind, name] = step.id
        result.names[material.kind, material.name] = name
        result.old += versions.old
    return result


def _details(material: Material) -> tuple[Change, ...]:
    """Return what a reviewer can compare of a config; of a secret nothing."""
    if material.kind == "secret":
        return ()
    digest = hashlib.sha256(material.content).hexdigest()
    return (Change("content", None, f"{len(material.content)} bytes, sha256 {digest[:16]}…"),)


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _creation(
    kind: StepKind,
    name: str,
    after: tuple[str, ...],
    *,
    digest: str,
    details: tuple[Change, ...],
) -> Step:
    what = kind.value.removeprefix("create_")
    return Step(
        id=f"{kind.value}:{name}",
        kind=kind,
        target=name,
        reason="the playbook wants it" if kind is StepKind.CREATE_NETWORK else "its content is new",
        proof="the swarm lists it",
        changes=(Change(what, None, name), *details),
        after=after,
        digest=digest,
    )


def named(spec: ServiceSpec, names: dict[tuple[str, str], str]) -> ServiceSpec:
    """Return the service with the versions of its secrets and configs."""
    task = defaults.task_spec(spec)
    container = defaults.container_spec(task)
    secrets, configs = given(container.secrets, []), given(container.configs, [])
    if not secrets and not configs:
        return spec
    if secrets:
        secrets = [
            replace(r, secret_name=names.get(("secret", r.secret_name), r.secret_name))
            for r in secrets
        ]
        container = replace(container, secrets=secrets)
    if configs:
        configs = [
            replace(r, config_name=names.get(("config", r.config_name), r.config_name))
            for r in configs
        ]
        container = replace(container, configs=configs)
    task = replace(task, container_spec=container)
    return replace(spec, task_template=task)


def used(specs: Iterable[ServiceSpec]) -> set[tuple[str, str]]:
    """Return (kind, name) of every secret, config and network that services use."""
    found: set[tuple[str, str]] = set()
    for spec in specs:
        task = defaults.task_spec(spec)
        container = defaults.container_spec(task)
        found |= {("secret", r.secret_name) for r in given(container.secrets, [])}
        found |= {("config", r.config_name) for r in given(container.configs, [])}
        found |= {("network", given(n.target, "")) for n in given(task.networks, [])}
    return found


def removals(
    old: Iterable[Secret | Config], still: set[tuple[str, str]], services: tuple[str, ...]
) -> list[Step]:
    """Return the steps that remove old versions which no service will use any more."""
    steps = []
    for one in old:
        kind = "config" if isinstance(one, Config) else "secret"
        name = given(one.spec.name, "")
        if (kind, name) in still:
            continue
        steps.append(
            Step(
                id=f"{_REMOVE[kind].value}:{name}",
                kind=_REMOVE[kind],
                target=name,
                reason="a newer version is used",
                proof="the swarm doesn't list it",
                changes=(Change(kind, name, None),),
                after=services,
                service_id=one.id,
            )
        )
    return steps
