"""A host without Docker Engine, and a repository from which its own apt can install it.

A lab's hosts reach no mirror: the packages that the host image was made of are copied onto the
host, and its apt is told of that folder and of nothing else.
"""

import hashlib
import subprocess
import tempfile
from pathlib import Path

from tests.lab.cache import cache_dir
from tests.lab.engine import LabError
from tests.lab.hosts import Host, run_in
from tests.lab.ssh import copy_to

ENGINE = ("docker.io", "containerd", "runc", "tini")
_REPOSITORY = "/srv/packages"


def without_engine(host: Host) -> None:
    """Remove Docker Engine from a host, and let its apt find the packages to install it again."""
    debs = [_package(name) for name in ENGINE]
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder) / "packages"
        there.mkdir()
        for deb in debs:
            (there / deb.name).symlink_to(deb)
        (there / "Packages").write_text("".join(map(_entry, debs)))
        copy_to(host, there, _REPOSITORY)
    script = f"""
        dpkg --remove {" ".join(ENGINE)} >&2
        echo 'deb [trusted=yes] file:{_REPOSITORY} ./' > /etc/apt/sources.list
        systemctl daemon-reload"""
    done = run_in(host, "sh", "-ec", script)
    if done.returncode != 0:
        raise LabError(f"{host.name}: {done.stderr.strip()}")


def _package(name: str) -> Path:
    """Return a package's file in the lab's cache; fetched there if somebody emptied it."""
    folder = cache_dir() / "debs"
    folder.mkdir(exist_ok=True)
    if not any(folder.glob(f"{name}_*.deb")):
        done = subprocess.run(
            ["apt-get", "download", "-q", name],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise LabError(f"apt-get can't download {name}: {done.stderr.strip()}")
    return max(folder.glob(f"{name}_*.deb"))


def _entry(deb: Path) -> str:
    """Return a package's paragraph in the index of a repository."""
    fields = subprocess.run(
        ["dpkg-deb", "--field", str(deb)], capture_output=True, text=True, check=True
    ).stdout
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    size = deb.stat().st_size
    return f"{fields}Filename: ./{deb.name}\nSize: {size}\nSHA256: {digest}\n\n"
