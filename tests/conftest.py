"""What all tests share: those that need root are left out without it, and one line says so."""

from __future__ import annotations

import os

import pytest

_LEFT_OUT = pytest.StashKey[int]()
_ROOT_FIXTURES = {"engine_address"}
"""Starting a Docker Engine needs root, whatever the test is marked with."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what needs root, if this is not root."""
    if os.geteuid() == 0:
        return
    chosen = [item for item in items if _needs_root(item)]
    config.stash[_LEFT_OUT] = len(chosen)
    config.hook.pytest_deselected(items=chosen)
    items[:] = [item for item in items if item not in chosen]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say how many were left out, and why."""
    if count := config.stash.get(_LEFT_OUT, 0):
        terminalreporter.write_line(f"left out {count} tests that need root: run make test as root")


def _needs_root(item: pytest.Item) -> bool:
    fixtures = set(getattr(item, "fixturenames", ()))
    return item.get_closest_marker("root") is not None or bool(fixtures & _ROOT_FIXTURES)
