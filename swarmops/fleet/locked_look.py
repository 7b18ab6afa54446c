"""Look and plan, and lock the swarm if there is something to do: how each round of an apply begins.

Called by ``apply``. What takes something away is asked about before the swarm is locked, so that
nobody is locked out meanwhile. Does no step.
"""

from __future__ import annotations

from swarmops.errors import SwarmopsError
from swarmops.fleet.apply_lock import ApplyLock
from swarmops.fleet.managers import Managers
from swarmops.fleet.observation import manager_hosts
from swarmops.fleet.observe import Seen
from swarmops.fleet.opened import Fleet, Progress, look
from swarmops.fleet.plan_file import refuse_moved
from swarmops.fleet.quorum import is_heard
from swarmops.fleet.steps import Plan, Step, StepKind
from swarmops.fleet.waiting import Patience, wait_until

LOOKS_MAX = 5
HEARD_PATIENCE = Patience(bound_s=60, period_s=0.5)
"""A node that left or was wiped is heard no more after 3 s; with Docker Engine after 17 s."""


class LockedLook:
    """Looks, and locks the swarm if there is something to do; again while others still change it.

    ``reviewed`` is the only plan that may come out of it.
    """

    def __init__(
        self,
        fleet: Fleet,
        progress: Progress,
        managers: Managers,
        lock: ApplyLock,
        reviewed: Plan | None,
    ) -> None:
        self._fleet = fleet
        self._progress = progress
        self._managers = managers
        self._lock = lock
        self._reviewed = reviewed
        self._allowed: set[str] = set()
        self._waited: set[str] = set()

    def __call__(self) -> tuple[Seen, Plan]:
        """Return what was seen and planned. Raises LockedError if somebody else has the lock."""
        for _ in range(LOOKS_MAX):
            seen, plan = look(self._fleet, self._progress)
            self._managers.know(manager_hosts(seen.observation))
            if self._reviewed is not None:
                refuse_moved(self._reviewed, plan)
            if plan.empty and not plan.refusals:
                self._lock.sweep(seen.observation)
            if plan.refusals or plan.empty:
                return seen, plan
            if self._fell_silent(plan):
                continue
            self._allow(plan)
            if self._lock.take(seen.observation, plan):
                return seen, plan
        raise SwarmopsError("the swarm's settings change all the time: find out who does that")

    def _fell_silent(self, plan: Plan) -> bool:
        """Wait for nodes that may have left a moment ago; whether they are heard no more.

        Whoever would be asked about them is asked of those alone that really live on elsewhere.
        """
        heard = {step.node_id: step.target for step in self._asked(plan) if _removes(step)}
        if not (heard.keys() - self._waited) or not self._progress.asks:
            return False
        self._waited |= heard.keys()
        self._progress.phase(f"waiting whether {', '.join(heard.values())} left a moment ago")

        def still() -> str:
            nodes = self._managers.ask(lambda manager: manager.nodes())
            return ", ".join(node.id for node in nodes if node.id in heard and is_heard(node))

        return not wait_until(still, HEARD_PATIENCE)

    def _allow(self, plan: Plan) -> None:
        if asked := self._asked(plan):
            self._progress.allow(asked)
            self._allowed |= {step.id for step in asked}

    def _asked(self, plan: Plan) -> list[Step]:
        return [s for s in plan.steps if s.destructive and s.id not in self._allowed]


def _removes(step: Step) -> bool:
    """Say whether a step that is asked about removes a node: then because it is heard."""
    return step.kind is StepKind.REMOVE_NODE
