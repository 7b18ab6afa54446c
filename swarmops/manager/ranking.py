"""Which of the fit nodes is best, one task after another, in logarithmic time.

Docker's order: nodes on which the service failed often come last; then fewest tasks of the service,
then fewest tasks at all. Spread preferences are a tree of label values above that: each level
takes the branch that has the fewest tasks of the service.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby

from swarmops.manager.constraints import label_value
from swarmops.manager.load import NodeLoad

Rank = tuple[int, int, int, str]
"""Failures, tasks of the service, tasks, and the node's ID, so that no two are equal."""
Failures = Callable[[str], int]
Passes = Callable[[NodeLoad], bool]
Loads = Mapping[str, NodeLoad]
"""Nodes by their IDs."""


class Ranking:
    """The fit nodes for one group of equal tasks."""

    def __init__(
        self,
        loads: Loads,
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
        self._leaf_of: dict[str, Leaf] = {}
        self._root = self._branch(loads, spread_over)

    def _branch(self, loads: Loads, spread_over: Sequence[str]) -> Inner | Leaf:
        if not spread_over:
            return Leaf(loads, self._service_id, self._failures, self._passes)

        def value(load: NodeLoad) -> str:
            return label_value(spread_over[0], load.node) or ""

        branches: list[Inner | Leaf] = []
        for _, group in groupby(sorted(loads.values(), key=value), key=value):
            some = {load.node.id: load for load in group}
            branches.append(branch := self._branch(some, spread_over[1:]))
            if isinstance(branch, Leaf):
                self._leaf_of.update(dict.fromkeys(some, branch))
        return Inner(branches)

    def take(self) -> NodeLoad | None:
        """Take the best node out; None when none is left."""
        return self._root.take()

    def put_back(self, load: NodeLoad) -> None:
        """Let the node that was taken last, and has one task more now, be chosen again."""
        leaf = self._root if isinstance(self._root, Leaf) else self._leaf_of[load.node.id]
        leaf.push(load)

    def see(self, node_ids: Iterable[str]) -> bool:
        """Rank anew the nodes whose loads have changed since; whether it is worth keeping.

        Not if it has preferences: which of their branches counts what, it knows only once.
        """
        return isinstance(self._root, Leaf) and self._root.see(node_ids)


class Leaf:
    """Nodes that no preference tells apart."""

    def __init__(
        self,
        loads: Loads,
        service_id: str,
        failures: Failures | None,
        passes: Passes,
    ) -> None:
        self._loads = loads
        self._service_id = service_id
        self._failures = failures
        self._passes = passes
        if failures is None:  # as _rank, without a call for each of thousands of nodes
            self._heap: list[Rank] = [
                (0, load.active_of.get(service_id, 0), load.active, node_id)
                for node_id, load in loads.items()
            ]
        else:
            self._heap = [self._rank(load) for load in loads.values()]
        heapq.heapify(self._heap)
        self.count: int = sum([rank[1] for rank in self._heap])

    def _rank(self, load: NodeLoad) -> Rank:
        node_id = load.node.id
        failed = 0 if self._failures is None else self._failures(node_id)
        return failed, load.active_of.get(self._service_id, 0), load.active, node_id

    def push(self, load: NodeLoad) -> None:
        """Rank a node by its present load."""
        heapq.heappush(self._heap, self._rank(load))

    def see(self, node_ids: Iterable[str]) -> bool:
        """See ``Ranking.see``."""
        for node_id in node_ids:
            load = self._loads.get(node_id)
            if load is not None:
                self.push(load)
        return len(self._heap) <= _RANKS_PER_NODE * len(self._loads)

    def take(self) -> NodeLoad | None:
        """See ``Ranking.take``."""
        while self._heap:
            rank = heapq.heappop(self._heap)
            load = self._loads[rank[-1]]
            # A rank that isn't the node's any more has a successor in the heap.
            if rank == self._rank(load) and self._passes(load):
                self.count += 1
                return load
        return None


class Inner:
    """Branches by the values of one label."""

    def __init__(self, branches: Sequence[Inner | Leaf]) -> None:
        self._heap = [(branch.count, place, branch) for place, branch in enumerate(branches)]
        heapq.heapify(self._heap)
        self.count: int = sum(branch.count for branch in branches)

    def take(self) -> NodeLoad | None:
        """See ``Ranking.take``."""
        while self._heap:
            _, place, branch = self._heap[0]
            load = branch.take()
            if load is None:
                heapq.heappop(self._heap)
                continue
            heapq.heapreplace(self._heap, (branch.count, place, branch))
            self.count += 1
            return load
        return None


_RANKS_PER_NODE = 4
"""With more, most of a ranking's heap is what nodes were once."""
