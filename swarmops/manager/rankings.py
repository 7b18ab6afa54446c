"""Rankings and fit nodes that the scheduler keeps from one step to the next.

A service under update gives it one task after another, and each of them alone would cost a look at
every node. So what was found for a group of equal tasks is kept, and of the nodes only those are
ranked anew whose loads have changed meanwhile. What is kept is bounded, the latest used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Generic, TypeVar

from swarmops.manager import placing
from swarmops.manager.faults import Faults
from swarmops.manager.filters import Affinity, Filter
from swarmops.manager.load import NodeLoad
from swarmops.manager.ranking import Loads, Ranking
from swarmops.model.base import given
from swarmops.model.defaults import placement
from swarmops.model.node import Node, NodeInternal
from swarmops.model.service import SpreadOver, TaskSpec
from swarmops.model.task import Task

Group = tuple[str, int, str]
"""Service, version of its spec, and for tasks of global services their node."""

RANKINGS_MAX = 16
FITS_MAX = 64
JOURNAL_MAX = 20_000

V = TypeVar("V")


class Rankings:
    """A memo: what may be forgotten at any time."""

    def __init__(self) -> None:
        self._fits: _Latest[Loads] = _Latest(FITS_MAX)
        self._kept: _Latest[tuple[Ranking, int]] = _Latest(RANKINGS_MAX)
        self._journal: list[str] = []
        self._before = 0
        """Entries that the journal no longer has."""
        self.looked = 0
        """Nodes that were looked at, in all."""

    def clear(self) -> None:
        """Forget everything: nodes are not what they were."""
        self._fits.clear()
        self._kept.clear()

    def forget(self, service_id: str) -> None:
        """Forget what was found for a service."""
        self._fits.forget(service_id)
        self._kept.forget(service_id)

    def changed(self, node_id: str) -> None:
        """Remember that a node's load is another now."""
        self._journal.append(node_id)
        if len(self._journal) > JOURNAL_MAX:
            self._before += len(self._journal)
            self._journal.clear()

    def of(  # noqa: PLR0917 - a group of equal tasks, and what decides about its nodes
        self,
        group: Group,
        task: Task,
        loads: Loads,
        checks: Sequence[Filter],
        faults: Faults,
        now: datetime,
    ) -> Ranking:
        """Rank those of the nodes that are fit for a group's tasks, of which ``task`` is one."""
        service_id, version, node_id = group
        changing = [each for each in checks if each.changing]
        lasting = [each for each in checks if not each.changing]
        spread_over = _spread_over(task.spec)
        failing = faults.matter(service_id, version, now)

        def passes(load: NodeLoad) -> bool:
            return placing.passes(load, changing)

        def failures(of: str) -> int:
            return faults.count(of, service_id, version, now)

        def find() -> Loads:
            self.looked += len(loads)
            return {of: load for of, load in loads.items() if placing.passes(load, lasting)}

        fit = find() if node_id else self._fit(group, find)

        def make() -> Ranking:
            self.looked += len(fit)
            # What is full now doesn't count for its branch.
            some = {of: each for of, each in fit.items() if passes(each)} if spread_over else fit
            counted = failures if failing else None
            return Ranking(some, service_id, spread_over, failures=counted, passes=passes)

        # Failures end by themselves, and affinity is to whoever has the name now.
        social = any(isinstance(each, Affinity) for each in checks)
        if node_id or failing or social or spread_over:
            return make()
        return self._up_to_date(group, len(fit), make)

    def _fit(self, group: Group, find: Callable[[], Loads]) -> Loads:
        """Return the nodes that pass what placing doesn't change."""
        found = self._fits.get(group)
        if found is None:
            found = self._fits.put(group, find())
            self._kept.pop(group)
        return found

    def _up_to_date(self, group: Group, nodes: int, make: Callable[[], Ranking]) -> Ranking:
        """Return the ranking that was kept, or one made anew where that is less work."""
        now = self._before + len(self._journal)
        ranking, since = self._kept.get(group) or (None, -1)
        if ranking is not None and self._before <= since and now - since <= nodes:
            news = self._journal[since - self._before :]
            self.looked += len(news)
            if not ranking.see(dict.fromkeys(news)):
                ranking = None
        else:
            ranking = None
        if ranking is None:
            ranking = make()
        self._kept.put(group, (ranking, now))
        return ranking


def may_take_more(old: Node, new: Node) -> bool:
    """Whether a change of a node may let it take tasks that it could not take before."""
    role = given(old.internal, NodeInternal()).role is not given(new.internal, NodeInternal()).role
    return (
        role
        or old.spec != new.spec
        or old.status.state is not new.status.state
        or old.status.addr != new.status.addr
        or (old.description is not new.description and old.description != new.description)
    )


def _spread_over(spec: TaskSpec) -> list[str]:
    preferences = given(placement(spec).preferences, [])
    spreads = [given(each.spread, SpreadOver()).spread_descriptor for each in preferences]
    return [each for each in spreads if each]


class _Latest(Generic[V]):
    """So many groups, the latest used."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: dict[Group, V] = {}

    def get(self, group: Group) -> V | None:
        found = self._found.pop(group, None)
        if found is not None:
            self._found[group] = found
        return found

    def put(self, group: Group, value: V) -> V:
        self._found[group] = value
        if len(self._found) > self._most:
            del self._found[next(iter(self._found))]
        return value

    def pop(self, group: Group) -> None:
        self._found.pop(group, None)

    def forget(self, service_id: str) -> None:
        for group in [each for each in self._found if each[0] == service_id]:
            del self._found[group]

    def clear(self) -> None:
        self._found.clear()
