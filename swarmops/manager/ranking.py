"""Which of the fit nodes is best, one task after another, in logarithmic time.

Docker's order: nodes on which the service failed often come last; then fewest tasks of the service,
then fewest tasks at all. Spread preferences are a tree of label values above that: each level
takes the branch that has the fewest tasks of the service.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from swarmops.manager.constraints import label_value
from swarmops.manager.load import NodeLoad

Rank = tuple[int, int, int, str]


class Ranking:
    """The fit nodes for one group of equal tasks."""

    def __init__(
        self,
        loads: Sequence[NodeLoad],
        service_id: str,
        spread_over: Sequence[str],
        failures: Callable[[str], int] | None,
    ) -> None:
        """``failures`` counts those of a node; None: nowhere has any."""
        self._service_id = service_id
        self._failures = failures
        self._leaves: dict[str, _Leaf] = {}
        self._root = self._branch(loads, spread_over)

    def _branch(self, loads: Sequence[NodeLoad], spread_over: Sequence[str]) -> _Inner | _Leaf:
        if not spread_over:
            leaf = _Leaf(self._service_id, loads, self._failures)
            self._leaves.update(dict.fromkeys(leaf.node_ids, leaf))
            return leaf

        def value(load: NodeLoad) -> str:
            return label_value(spread_over[0], load.node) or ""

        groups = groupby(sorted(loads, key=value), key=value)
        return _Inner([self._branch(list(group), spread_over[1:]) for _, group in groups])

    def take(self) -> NodeLoad | None:
        """Take the best node out; None when none is left."""
        return self._root.take()

    def put_back(self, load: NodeLoad) -> None:
        """Let a node that was taken, and has one task more now, be chosen again."""
        self._leaves[load.node.id].push(load)


class _Leaf:
    """Nodes that no preference tells apart."""

    def __init__(
        self,
        service_id: str,
        loads: Sequence[NodeLoad],
        failures: Callable[[str], int] | None,
    ) -> None:
        self._service_id = service_id
        self._failures = failures
        self._loads = {load.node.id: load for load in loads}
        if failures is None:  # as _rank, for each of thousands of nodes
            self._heap: list[Rank] = [
                (0, load.active_of.get(service_id, 0), load.active, node_id)
                for node_id, load in self._loads.items()
            ]
        else:
            self._heap = [self._rank(load) for load in loads]
        heapq.heapify(self._heap)
        self.count: int = sum([rank[1] for rank in self._heap])

    def _rank(self, load: NodeLoad) -> Rank:
        node_id = load.node.id
        failed = 0 if self._failures is None else self._failures(node_id)
        return failed, load.active_of.get(self._service_id, 0), load.active, node_id

    @property
    def node_ids(self) -> Iterable[str]:
        """The nodes that it was made of."""
        return self._loads.keys()

    def push(self, load: NodeLoad) -> None:
        heapq.heappush(self._heap, self._rank(load))

    def take(self) -> NodeLoad | None:
        if not self._heap:
            return None
        self.count += 1
        return self._loads[heapq.heappop(self._heap)[3]]


class _Inner:
    """Branches by the values of one label."""

    def __init__(self, branches: list[_Inner | _Leaf]) -> None:
        self._branches = branches
        self.count: int = sum(branch.count for branch in branches)

    def take(self) -> NodeLoad | None:
        for branch in sorted(self._branches, key=lambda each: each.count):
            load = branch.take()
            if load is not None:
                self.count += 1
                return load
        return None
