"""Which module writes which field of a task: each field has one writer, a status one at a time."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import swarmops

ROOT = Path(swarmops.__file__).parent
TASKS_OWN = {"node_id", "desired_state", "networks_attachments", "assigned_generic_resources"}
"""Fields that no other object has: who puts one by ``replace`` puts a task."""
ORCHESTRATOR = {"manager/orchestrator.py", "manager/look.py"}
SCHEDULER = {"manager/placing.py"}
WRITERS = {
    "desired_state": ORCHESTRATOR,
    "node_id": SCHEDULER,
    "assigned_generic_resources": SCHEDULER,
    "networks_attachments": {"manager/allocator.py"},
    "status": {
        "manager/allocator.py",  # while it waits for its addresses
        *SCHEDULER,  # while it waits for a node
        "manager/statuses.py",  # once it has one: what its agent says
        "manager/enforcer.py",  # where the node must not keep it
        "manager/orphans.py",  # where the node was silent for a day
        "api/nodes.py",  # where the node was removed
    },
}


def _replaces(node: ast.expr) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "replace"


def written(source: str) -> Iterator[str]:
    """Yield the fields of stored tasks that a module writes."""
    if "patch_task(" not in source and ".put(" not in source:
        return
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        if call.func.attr == "patch_task":
            yield from (each.arg or "**" for each in call.keywords)
        elif call.func.attr == "put" and call.args and _replaces(call.args[0]):
            yield from TASKS_OWN.intersection(each.arg or "" for each in call.args[0].keywords)


def test_each_field_of_a_task_has_one_writer():
    """Whoever writes another's field has to be told here, with when he may."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path in ROOT.rglob("*.py"):
        for field in written(path.read_text()):
            found[field].add(path.relative_to(ROOT).as_posix())
    assert dict(found) == WRITERS
