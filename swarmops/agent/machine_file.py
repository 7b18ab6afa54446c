"""What the operator says of a machine that can't be seen: engine labels and generic resources.

Docker has these in ``daemon.json``; here they are in ``machine.json`` in the node's data folder.
The node's description reads the file anew each time, so that a change needs no restart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import structlog

from swarmops.model.base import Labels
from swarmops.model.service import (
    DiscreteGenericResource,
    GenericResource,
    NamedGenericResource,
)

FILE = "machine.json"
log = structlog.get_logger(__name__)


class MachineFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file's content. A generic resource is a number of units, or the units' names."""

    labels: Labels = {}
    generic_resources: dict[str, Annotated[int, msgspec.Meta(ge=0)] | list[str]] = {}

    @property
    def resources(self) -> list[GenericResource]:
        """Return the generic resources as a node's description has them."""
        found: list[GenericResource] = []
        for kind, offered in self.generic_resources.items():
            if isinstance(offered, int):
                counted = DiscreteGenericResource(kind=kind, value=offered)
                found.append(GenericResource(discrete_resource_spec=counted))
                continue
            named = (NamedGenericResource(kind=kind, value=name) for name in offered)
            found += [GenericResource(named_resource_spec=each) for each in named]
        return found


def read(path: Path, before: MachineFile) -> MachineFile:
    """Return what the file says: nothing if there is none, what it said before if it is wrong."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=MachineFile)
    except FileNotFoundError:
        return MachineFile()
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("what the operator says of this node can't be read", why=f"{path}: {error}")
        return before
