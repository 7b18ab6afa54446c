"""Builds the image that every lab host starts from, once per recipe.

debootstrap makes a Debian with systemd, sshd, Python and Docker Engine; accounts and `rootfs/` are
laid over it; `docker import` puts it into the lab's daemon, which keeps it between runs.
"""

import shutil
import subprocess
import time
from pathlib import Path

from tests.lab import recipe
from tests.lab.cache import cache_dir
from tests.lab.engine import LabError, docker, say
from tests.lab.mirror import download_environment, mirror

REPOSITORY = "swarmops-lab"


def ensure_image() -> tuple[str, float]:
    """Return the image's name and the seconds its build took, 0 if it was there already.

    The caller holds the cache's lock and has started the daemon.
    """
    name = f"{REPOSITORY}:{recipe.recipe_key()}"
    _forget_others(name)
    if docker("image", "ls", "-q", name):
        return name, 0.0
    say("building the host image, once (about a minute)")
    started = time.monotonic()
    root = cache_dir() / "root"
    _clear(root)
    log = cache_dir() / "build.log"
    try:
        _debootstrap(root, log)
        _finish(root)
        _import(root, name)
    finally:
        _clear(root)
    return name, time.monotonic() - started


def _clear(root: Path) -> None:
    """Delete a system; what a killed debootstrap left mounted in it is unmounted, not deleted."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for point in reversed(mounted):
        if point.startswith(f"{root}/"):
            subprocess.run(["umount", "--lazy", point], check=True)
    if root.exists():
        shutil.rmtree(root)


def _debootstrap(root: Path, log: Path) -> None:
    """Make the base system. Downloaded packages stay in the cache for the next recipe."""
    packages = cache_dir() / "debs"
    packages.mkdir(exist_ok=True)
    with log.open("wb") as file:
        done = subprocess.run(
            [
                "debootstrap",
                "--variant=minbase",
                f"--cache-dir={packages}",
                f"--include={','.join(recipe.PACKAGES)}",
                recipe.SUITE,
                str(root),
                mirror(recipe.SUITE),
            ],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=download_environment(),
            check=False,
        )
    if done.returncode != 0:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise LabError(f"debootstrap failed: {''.join(last)} (all of it: {log})")


def _finish(root: Path) -> None:
    """Turn a base system into a host that has never booted."""
    for name in recipe.DROPPED_PATHS:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for key in root.glob("etc/ssh/ssh_host_*"):
        key.unlink()
    (root / "etc/machine-id").unlink(missing_ok=True)
    (root / "etc/machine-id").touch()
    (root / "etc/apt/sources.list").write_text("")
    shutil.copytree(recipe.ROOTFS, root, dirs_exist_ok=True)
    (root / "etc/sudoers.d/lab").chmod(0o440)
    for unit in recipe.MASKED_UNITS:
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    for user in (recipe.OPERATOR, recipe.OPERATOR_WITH_PASSWORD):
        _chroot(root, "useradd", "--create-home", "--shell", "/bin/bash", user)
    password = f"{recipe.OPERATOR_WITH_PASSWORD}:{recipe.SUDO_PASSWORD}\n"
    _chroot(root, "chpasswd", stdin=password.encode())


def _chroot(root: Path, *command: str, stdin: bytes = b"") -> None:
    """Run a command inside the system being built."""
    done = subprocess.run(
        ["chroot", str(root), *command], input=stdin, capture_output=True, check=False
    )
    if done.returncode != 0:
        raise LabError(f"{command[0]} in the host image failed: {done.stderr.decode().strip()}")


def _import(root: Path, name: str) -> None:
    """Hand the finished system to the lab's daemon."""
    with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as tar:
        docker("import", "-", name, stdin_file=tar.stdout)
    if tar.returncode != 0:
        docker("image", "rm", name)
        raise LabError("packing the host image failed: is the disk full?")


def _forget_others(name: str) -> None:
    """Remove images of other recipes that no host uses."""
    listed = docker("image", "ls", REPOSITORY, "--format", "{{.Repository}}:{{.Tag}}").split()
    used = set(docker("ps", "-a", "--format", "{{.Image}}").split())
    for old in set(listed) - {name} - used:
        docker("image", "rm", old)
