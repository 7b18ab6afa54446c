"""A machine that runs `swarmops apply`: a home of its own, and the code as it was at the start."""

import compileall
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import swarmops
from bench.scenarios import MANAGERS
from bench.watching import now_s
from tests.lab.hosts import Host
from tests.lab.inventory import inventory_text


class Operator:
    """Works below a scratch folder. What it built for hosts it keeps, whom it met it forgets."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # A release is named by its files, and a checkout may be edited meanwhile.
        package = Path(swarmops.__file__).parent
        leave_out = shutil.ignore_patterns("__pycache__")
        for copied in (package, Path(__file__).parent):
            shutil.copytree(copied, folder / "code" / copied.name, ignore=leave_out)
        # As pip leaves what it installs: no run has to compile first.
        compileall.compile_dir(folder / "code", quiet=1)
        described = metadata.distribution(package.name)
        info = folder / "code" / f"{package.name}-{described.version}.dist-info"
        info.mkdir()
        # A checkout that was installed in place is described by its egg-info, found first there.
        (info / "METADATA").write_text(
            described.read_text("METADATA") or described.read_text("PKG-INFO") or ""
        )
        (info / "entry_points.txt").write_text(described.read_text("entry_points.txt") or "")

    def meet(self, hosts: Sequence[Host], playbook: Mapping[str, object]) -> None:
        """Write inventory and playbook for hosts whose keys aren't known yet."""
        shutil.rmtree(self._folder / "state", ignore_errors=True)
        (self._folder / "playbook.yml").write_text(json.dumps(playbook))
        self.inventory.write_text(
            inventory_text(
                hosts,
                managers=hosts[:MANAGERS],
                workers=hosts[MANAGERS:],
                variables={"swarmops_playbook": "playbook.yml"},
            )
        )

    def environment(self) -> dict[str, str]:
        """Return what the command finds around it: nothing of the machine's user."""
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self._folder),
            "PYTHONPATH": str(self._folder / "code"),
            "XDG_CACHE_HOME": str(self._folder / "cache"),
            "XDG_STATE_HOME": str(self._folder / "state"),
        }

    @property
    def inventory(self) -> Path:
        """Where `meet` writes the inventory."""
        return self._folder / "inventory.yml"

    def apply(self, *words: str) -> tuple[float, str]:
        """Run `swarmops apply`; see `run`."""
        return self.run("swarmops", "apply", str(self.inventory), *words)

    def run(self, module: str, *words: str) -> tuple[float, str]:
        """Run a module; return its seconds and what it said, RuntimeError with that if it fails."""
        started_s = now_s()
        done = subprocess.run(
            [sys.executable, "-m", module, *words],
            env=self.environment(),
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        took_s = now_s() - started_s
        if done.returncode != 0:
            raise RuntimeError(f"{module} {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
        return took_s, done.stdout
