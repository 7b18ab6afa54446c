"""Which of the fit nodes is best, one task after another, in logarithmic time.

Docker's order: nodes on which the service failed often come last; then fewest tasks of the service,
then fewest tasks at all. Spread preferences are a tree of label values above that: each level
takes the branch that has the fewest tasks of the service.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from itertools import groupby

from swarmops.manager.constraints import label_value
from swarmops.manager.load import NodeLoad

Rank = tuple[int, int, int, str, NodeLoad]
"""Failures, tasks of the service, tasks, the node's ID, so that no two are equal; and the node."""
Failures = Callable[[str], int]
Passes = Callable[[NodeLoad], bool]


class Ranking:
    """The fit nodes for one group of equal tasks."""

    def __init__(
        self,
        loads: Sequence[NodeLoad],
        service_id: str,
        spread_over: Sequence[str],
        *,
        failures: Failures | None,
        passes: Passes,
    ) -> None:
        """``failures`` counts those of a node; None: nowhere has any.

        ``passes`` is asked when a node's turn comes: of thousands most are never looked at.
        """
        self._service_id = service_id
        self._failures = failures
        self._passes = passes
        self._leaves: dict[str, _Leaf] = {}
        self._root = self._branch(loads, spread_over)

    def _branch(self, loads: Sequence[NodeLoad], spread_over: Sequence[str]) -> _Inner | _Leaf:
        if not spread_over:
            return _Leaf(loads, self._service_id, self._failures, self._passes)

        def value(load: NodeLoad) -> str:
            return label_value(spread_over[0], load.node) or ""

        branches: list[_Inner | _Leaf] = []
        for _, group in groupby(sorted(loads, key=value), key=value):
            some = list(group)
            branches.append(branch := self._branch(some, spread_over[1:]))
            if isinstance(branch, _Leaf):
                self._leaves.update((load.node.id, branch) for load in some)
        return _Inner(branches)

    def take(self) -> NodeLoad | None:
        """Take the best node out; None when none is left."""
        return self._root.take()

    def put_back(self, load: NodeLoad) -> None:
        """Let a node that was taken, and has one task more now, be chosen again."""
        leaf = self._root if isinstance(self._root, _Leaf) else self._leaves[load.node.id]
        leaf.push(load)


class _Leaf:
    """Nodes that no preference tells apart."""

    def __init__(
        self,
        loads: Sequence[NodeLoad],
        service_id: str,
        failures: Failures | None,
        passes: Passes,
    ) -> None:
        self._service_id = service_id
        self._failures = failures
        self._passes = passes
        if failures is None:  # as _rank, without a call for each of thousands of nodes
            self._heap: list[Rank] = [
                (0, load.active_of.get(service_id, 0), load.active, load.node.id, load)
                for load in loads
            ]
        else:
            self._heap = [self._rank(load) for load in loads]
        heapq.heapify(self._heap)
        self.count: int = sum([rank[1] for rank in self._heap])

    def _rank(self, load: NodeLoad) -> Rank:
        node_id = load.node.id
        failed = 0 if self._failures is None else self._failures(node_id)
        return failed, load.active_of.get(self._service_id, 0), load.active, node_id, load

    def push(self, load: NodeLoad) -> None:
        heapq.heappush(self._heap, self._rank(load))

    def take(self) -> NodeLoad | None:
        while self._heap:
            load = heapq.heappop(self._heap)[4]
            if self._passes(load):
                self.count += 1
                return load
        return None


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
