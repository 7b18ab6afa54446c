"""Where Debian packages come from: what the machine's own apt is told.

Read from apt's source files whenever a host image is built; never written in the repository.
"""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.lab.engine import LabError

APT = Path("/etc/apt")


def mirror(suite: str) -> str:
    """Return the URI of the machine's first apt source that has the suite; LabError if none."""
    files = [
        APT / "sources.list",
        *sorted(APT.glob("sources.list.d/*.sources")),
        *sorted(APT.glob("sources.list.d/*.list")),
    ]
    for uri in uris_with(suite, (path.read_text() for path in files if path.is_file())):
        return uri
    raise LabError(f"this machine's apt sources have no {suite}; add one to build the lab's hosts")


def uris_with(suite: str, texts: Iterable[str]) -> list[str]:
    """Return the URIs that offer the suite, from source files in either of apt's two formats."""
    found: list[str] = []
    for text in texts:
        for stanza in text.split("\n\n"):
            found += _of_stanza(suite, [line for line in stanza.splitlines() if line[:1] != "#"])
    return found


def _of_stanza(suite: str, lines: list[str]) -> list[str]:
    """Return the URIs of one deb822 stanza, or of each `deb` line in it."""
    found: list[str] = []
    fields: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("deb "):
            _, _, after_options = line.rpartition("]")
            words = [word for word in after_options.split() if word != "deb"]
            if words[1:2] == [suite]:
                found.append(words[0].rstrip("/"))
        elif ":" in line:
            key, _, value = line.partition(":")
            fields[key.strip().lower()] = value.split()
    if suite in fields.get("suites", []) and "deb" in fields.get("types", []):
        found += [uri.rstrip("/") for uri in fields.get("uris", [])[:1]]
    return found


def download_environment() -> dict[str, str]:
    """Return the environment for debootstrap: this process's, with apt's proxy if apt has one."""
    environment = dict(os.environ)
    done = subprocess.run(
        ["apt-config", "shell", "PROXY", "Acquire::http::Proxy"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.stdout.startswith("PROXY="):
        environment.setdefault("http_proxy", done.stdout.removeprefix("PROXY=").strip().strip("'"))
    return environment
