"""Makes a release importable: Python runs it at every start with the release on PYTHONPATH.

Laid into the release by ``bundle``. All plain modules are in two archives and compiled ones beside
them: two dozen files are unpacked ten times as fast as fifteen hundred, and imported as fast.
"""

from __future__ import annotations

import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class CompiledModules(MetaPathFinder):
    """Finds ``ext/package.module.so`` for a module whose package is in an archive."""

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
        return spec_from_file_location(fullname, file, loader=ExtensionFileLoader(fullname, file))


def enable(release: str) -> None:
    """Put the archives and the compiled modules of a release first."""
    sys.meta_path.insert(0, CompiledModules(f"{release}/ext"))
    sys.path[1:1] = [f"{release}/own.zip", f"{release}/deps.zip"]


if __name__ == "sitecustomize":
    enable(__file__.rpartition("/")[0])
