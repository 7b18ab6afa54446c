"""Which of the swarm's services don't run as they should, and why.

Called by ``swarmops doctor``. ``look`` asks a manager; ``service_findings`` judges and is pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from swarmops.errors import SwarmopsError
from swarmops.fleet.converge import services_lack
from swarmops.fleet.doctor import Finding, Grade
from swarmops.fleet.managers import Managers
from swarmops.model import defaults
from swarmops.model.base import given
from swarmops.model.service import Service


def look(managers: Managers) -> list[Finding]:
    """Ask the managers, and judge; that nobody answers is a finding too."""
    try:
        services = managers.ask(lambda manager: manager.services(status=True))
        names = [given(service.spec.name, "") for service in services]
        lacks = managers.ask(lambda manager: services_lack(manager, names))
    except SwarmopsError as error:
        return [
            Finding(
                host="",
                check="services",
                grade=Grade.PROBLEM,
                found=str(error),
                cure="look at the managers first",
            )
        ]
    return service_findings(services, {lack.partition(": ")[0]: lack for lack in lacks})


def service_findings(services: Iterable[Service], lacks: Mapping[str, str]) -> list[Finding]:
    """Judge services that were asked for with their status; ``lacks``: what some lack, by name.

    Of which nothing runs is a problem, of which less than it should a warning: it may be on its
    way. Jobs run when they run.
    """
    found, well = [], 0
    for service in services:
        name, status = given(service.spec.name, service.id), given(service.service_status, None)
        if status is None or defaults.mode_name(service.spec).endswith("-job"):
            continue
        if status.running_tasks >= status.desired_tasks:
            well += 1
            continue
        text = f"{name}: {status.running_tasks} of {status.desired_tasks} tasks run"
        reason = lacks.get(name, "").partition("; ")[2]
        found.append(
            Finding(
                host="",
                check="service",
                grade=Grade.WARNING if status.running_tasks else Grade.PROBLEM,
                found=f"{text}; {reason}" if reason else text,
                cure=f"see why: swarmops service ps {name}, swarmops service logs {name}",
            )
        )
    if well:
        noun = "service" if well == 1 else "services"
        text = f"{well} {noun} as wanted"
        found.append(Finding(host="", check="services", grade=Grade.OK, found=text))
    return found
