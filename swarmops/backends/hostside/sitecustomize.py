"""Makes a release importable: Python runs it at every start with the release on PYTHONPATH.

Laid into the release by ``bundle``. All plain modules are in two archives and compiled ones beside
them: two dozen files are unpacked ten times as fast as fifteen hundred, and imported as fast.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType


class CompiledModules:
    """Finds ``ext/package.module.so`` for a module whose package is in an archive.

    No ``importlib.abc.MetaPathFinder``: importing that and ``typing`` takes 15 ms at every start.
    """

    def __init__(self, folder: str) -> None:
        names = os.listdir(folder)  # noqa: PTH208 - pathlib would be imported for this alone
        self.files = {name.removesuffix(".so"): f"{folder}/{name}" for name in names}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See importlib."""
        del path, target
        file = self.files.get(fullname)
        if file is None:
            return None
        spec = ModuleSpec(fullname, ExtensionFileLoader(fullname, file), origin=file)
        spec.has_location = True
        return spec


def enable(release: str) -> None:
    """Put the archives and the compiled modules of a release first."""
    sys.meta_path.insert(0, CompiledModules(f"{release}/ext"))
    sys.path[1:1] = [f"{release}/own.zip", f"{release}/deps.zip"]


if __name__ == "sitecustomize":
    enable(__file__.rpartition("/")[0])
