"""Tools that swarmops is compared with: from PyPI, each in an environment of its own.

They are kept in the lab's cache, made once, and are no dependency of the project.
"""

import subprocess
import sys
from pathlib import Path

from tests.lab.cache import cache_dir


def tool_dir(name: str) -> Path:
    """Return the folder in the cache that holds a tool's environment and what belongs to it."""
    return cache_dir() / name


def installed(name: str, *, on_hosts: str = "") -> Path:
    """Return the folder of a PyPI package's programs, installed in the cache if it isn't.

    `on_hosts` is a package that the tool needs on its hosts; it is put into `tool_dir(name)/sdk`.
    """
    home = tool_dir(name)
    done = home / "installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home / "venv")], check=True)
        pip = [str(home / "venv/bin/python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, name], check=True)
        if on_hosts:
            # Pure Python only: it is built here and runs on the hosts.
            target = ["--upgrade", "--target", str(home / "sdk")]
            subprocess.run([*pip, *target, on_hosts], check=True)
        done.touch()
    return home / "venv/bin"
