"""The part of a plan that makes the services as the playbook says.

Called by ``swarmops.fleet.plan``; pure. Services that the playbook doesn't name are left alone,
unless it says ``prune``; then those that it made and names no more are removed.
"""

from __future__ import annotations

from collections.abc import Mapping

from swarmops.fleet.observation import SwarmView
from swarmops.fleet.plan_materials import Supplies, named, removals, used
from swarmops.fleet.playbook import Playbook
from swarmops.fleet.spec_diff import PLAYBOOK_LABEL, labelled, updated
from swarmops.fleet.steps import Change, Step, StepKind
from swarmops.model.base import given
from swarmops.model.defaults import container_spec, mode_name, replicas, task_spec
from swarmops.model.service import Service, ServiceSpec


def service_steps(
    playbook: Playbook,
    swarm: SwarmView | None,
    after: tuple[str, ...],
    follows: tuple[str, ...],
    stock: Supplies | None = None,
) -> tuple[list[Step], dict[str, str]]:
    """Return the steps, and problems by ``service <name>``; ``stock`` is what services use.

    They come after the nodes' steps: Docker never moves a running task to a node that came later.
    """
    present = {
        given(service.spec.name, ""): service for service in (swarm.services if swarm else ())
    }
    stock = stock or Supplies()
    steps, problems = [], {}
    root = after
    for name, spec in playbook.services.items():
        wanted = named(labelled(spec, playbook.name), stock.names)
        uses = sorted(used([wanted]) & stock.makers.keys())
        after = (*root, *(stock.makers[use] for use in uses))
        service = present.get(name)
        if service is None:
            steps.append(
                Step(
                    id=f"{StepKind.CREATE_SERVICE.value}:{name}",
                    kind=StepKind.CREATE_SERVICE,
                    target=name,
                    reason="the playbook wants it",
                    proof="the swarm lists it",
                    changes=(Change("service", None, describe(spec)),),
                    after=after,
                    follows=follows,
                    service=wanted,
                )
            )
            continue
        if mode_name(wanted) != mode_name(service.spec):
            problems[f"service {name}"] = (
                f"it is {mode_name(service.spec)} and the playbook wants {mode_name(wanted)}, which"
                f" no update can do: remove it first ('swarmops service rm {name}')"
            )
            continue
        to_send, changes = updated(wanted, service.spec)
        if changes:
            steps.append(
                Step(
                    id=f"{StepKind.UPDATE_SERVICE.value}:{name}",
                    kind=StepKind.UPDATE_SERVICE,
                    target=name,
                    reason="it differs from the playbook",
                    proof="the swarm shows the new spec",
                    changes=changes,
                    after=after,
                    follows=follows,
                    service_id=service.id,
                    version=service.version.index,
                    service=to_send,
                )
            )
    if playbook.prune:
        steps += [_removal(service, root, follows) for service in _dropped(playbook, present)]
    gone = {step.target for step in steps if step.kind is StepKind.REMOVE_SERVICE}
    final = {name: service.spec for name, service in present.items() if name not in gone}
    final |= {step.target: step.service for step in steps if step.service is not None}
    steps += removals(stock.old, used(final.values()), tuple(step.id for step in steps))
    return steps, problems


def _dropped(playbook: Playbook, present: Mapping[str, Service]) -> list[Service]:
    """Return the services that an earlier version of the playbook made and this one hasn't."""
    return [
        service
        for name, service in present.items()
        if name not in playbook.services
        and (given(service.spec.labels, {}) or {}).get(PLAYBOOK_LABEL) == playbook.name
    ]


def _removal(service: Service, after: tuple[str, ...], follows: tuple[str, ...]) -> Step:
    name = given(service.spec.name, service.id)
    return Step(
        id=f"{StepKind.REMOVE_SERVICE.value}:{name}",
        kind=StepKind.REMOVE_SERVICE,
        target=name,
        reason="the playbook has it no more",
        proof="the swarm doesn't list it",
        changes=(Change("service", describe(service.spec), None),),
        after=after,
        follows=follows,
        service_id=service.id,
        destructive=True,
    )


def describe(spec: ServiceSpec) -> str:
    """Return a service in a few words: ``4 replicas of nginx:1``."""
    image = given(container_spec(task_spec(spec)).image, "?")
    mode = mode_name(spec)
    if mode != "replicated":
        return f"{mode}, {image}"
    number = replicas(spec)
    return f"{number} {'replica' if number == 1 else 'replicas'} of {image}"
