"""A client of the real HTTP server that answers as it was told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from swarmops.client import Client, unix_socket

if TYPE_CHECKING:
    from tests.unit.conftest import Engine


@pytest.fixture
def client(engine: Engine) -> Iterator[Client]:
    """Connect to the server."""
    with Client(unix_socket(str(engine.server_address)), name="h1", timeout_s=5) as made:
        yield made
