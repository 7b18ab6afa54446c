"""Each line of a daemon's log says which node it is from, or which one it speaks of."""

from __future__ import annotations

from swarmops.runtime.log_fields import OfNode


def test_a_line_has_the_nodes_id_once_there_is_one_and_keeps_another_that_it_names():
    """Before it is in a swarm a node has none."""
    processor = OfNode()
    assert processor(None, "info", {"event": "x"}) == {"event": "x"}
    processor.node_id = lambda: "n1"
    assert processor(None, "info", {"event": "x"}) == {"event": "x", "node": "n1"}
    assert processor(None, "info", {"event": "x", "node": "n2"})["node"] == "n2"
