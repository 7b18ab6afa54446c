"""Which files of which packages a host's Python needs, from what is installed here if it fits.

Used by ``bundle``. Pure Python packages are always taken from here; compiled ones only if their
wheel's tags fit the host, else that very version is downloaded for it.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Collection, Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

import msgspec

import swarmops
from swarmops.errors import InputError

_LEFT_OUT = (".pyc", ".pyi", ".pyx", ".pxd", ".pxi", ".c", ".h", ".hash", ".js")
_LEFT_OUT_FOLDERS = frozenset({"tests", "test", "__pycache__", "docs"})
_LEFT_OUT_INFO = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "WHEEL"})
_OLD_NAMES = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """A host's Python and what compiled packages depend on."""

    python: tuple[int, int]
    implementation: str
    machine: str
    libc: str
    libc_version: tuple[int, int]

    @property
    def python_tag(self) -> str:
        """As in wheels' names: cp311."""
        short = {"cpython": "cp", "pypy": "pp"}.get(self.implementation, self.implementation)
        return f"{short}{self.python[0]}{self.python[1]}"


class Part(msgspec.Struct, frozen=True):
    """A package of the bundle. ``installed`` is None if it must be downloaded for the platform."""

    name: str
    version: str
    digest: str
    installed: metadata.Distribution | None = None
    own: dict[str, bytes] | None = None


@cache
def here() -> Platform:
    """Return this machine's platform, as the host's program finds a host's."""
    from swarmops.backends.hostside import facts  # noqa: PLC0415 - a program for hosts, once here

    found = facts.python()
    return Platform(
        python=(found["version"][0], found["version"][1]),
        implementation=found["implementation"],
        machine=os.uname().machine,
        libc=found["libc"],
        libc_version=(found["libc_version"][0], found["libc_version"][1]),
    )


def closure(
    roots: Iterable[str],
    platform: Platform,
    *,
    alone: Collection[str] = (),
    without: Collection[str] = (),
) -> list[Part]:
    """Return the packages and all that they need, by name. InputError if one isn't installed.

    Those in ``alone`` come without what they need, those in ``without`` not at all.

    Requirements for extras, and those that our own installation didn't need either, are left out.
    """
    found: dict[str, Part] = {}
    todo = [(name, True) for name in (*roots, *alone)]
    while todo:
        name, wanted = todo.pop()
        key = canonical(name)
        if key in found or key in without:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if wanted:
                raise InputError(
                    f"the package {name} is not installed here, and hosts need it: "
                    "reinstall swarmops"
                ) from None
            continue
        found[key] = _part(key, distribution, platform)
        if name in alone:
            continue
        needed = [text for text in distribution.requires or () if "extra ==" not in text]
        todo += [(match.group(), False) for t in needed if (match := re.match(r"[\w.-]+", t))]
    return [found[key] for key in sorted(found)]


def canonical(name: str) -> str:
    """Return a package's name as registries spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _part(name: str, distribution: metadata.Distribution, platform: Platform) -> Part:
    tags = re.findall(r"^Tag: *(\S+)", distribution.read_text("WHEEL") or "", re.MULTILINE)
    if any(fits(tag, platform) for tag in tags):
        record = distribution.read_text("RECORD") or ""
        digest = hashlib.sha256(record.encode()).hexdigest()
        return Part(name, distribution.version, digest, distribution)
    files = {} if tags else _installed_from_source(distribution)
    if files:
        return Part(name, distribution.version, _digest_of(files), own=files)
    return Part(name, distribution.version, f"downloaded for {platform.python_tag}")


def _installed_from_source(distribution: metadata.Distribution) -> dict[str, bytes]:
    """Return the files of a pure package that an older pip installed without making a wheel.

    Empty if there are none, or if something compiled is among them.
    """
    files: dict[str, bytes] = {}
    for package in (distribution.read_text("top_level.txt") or "").split():
        folder = Path(str(distribution.locate_file(package)))
        for path in folder.rglob("*"):
            if path.suffix in (".so", ".pyd"):
                return {}
            name = f"{package}/{path.relative_to(folder).as_posix()}"
            if path.is_file() and _is_kept(name):
                files[name] = path.read_bytes()
    return files


def _digest_of(files: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    return digest.hexdigest()


def fits(tag: str, platform: Platform) -> bool:
    """Whether a wheel with this tag (``cp311-abi3-manylinux_2_34_x86_64``) runs there."""
    python, abi, system = tag.split("-", 2)
    return _python_fits(python, abi, platform) and _system_fits(system, platform)


def _python_fits(python: str, abi: str, platform: Platform) -> bool:
    if python.startswith("py3"):
        return True
    if abi == "abi3" and platform.implementation == "cpython":
        return python[:3] == "cp3" and int(python[3:]) <= platform.python[1]
    return python == platform.python_tag


def _system_fits(system: str, platform: Platform) -> bool:
    if system == "any":
        return True
    if not system.endswith(f"_{platform.machine}"):
        return False
    kind = system.removesuffix(f"_{platform.machine}")
    if kind == "linux":  # built on this machine
        return platform.libc == here().libc and platform.libc_version >= here().libc_version
    if kind in _OLD_NAMES:
        return platform.libc == "glibc" and platform.libc_version >= _OLD_NAMES[kind]
    match = re.fullmatch(r"(many|musl)linux_(\d+)_(\d+)", kind)
    if match is None:
        return False
    libc = "glibc" if match[1] == "many" else "musl"
    return platform.libc == libc and platform.libc_version >= (int(match[2]), int(match[3]))


def own_part() -> Part:
    """Return our own package as it is here, installed or in a checkout."""
    package = Path(swarmops.__file__).parent
    files = {
        f"swarmops/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in package.rglob("*")
        if path.is_file() and _is_kept(path.relative_to(package).as_posix())
    }
    info = f"swarmops-{swarmops.__version__}.dist-info"
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: swarmops\nVersion: {swarmops.__version__}\n".encode()
    )
    files[f"{info}/entry_points.txt"] = own_entry_points().encode()
    return Part("swarmops", swarmops.__version__, _digest_of(files), own=files)


def own_entry_points() -> str:
    """Return the text of ours, installed or in a checkout."""
    try:
        text = metadata.distribution("swarmops").read_text("entry_points.txt")
    except metadata.PackageNotFoundError:
        text = None
    project = Path(swarmops.__file__).parents[1] / "pyproject.toml"
    if text is None and project.exists():
        groups = tomllib.loads(project.read_text())["project"].get("entry-points", {})
        lines = []
        for group in sorted(groups):
            lines += [f"[{group}]", *(f"{k} = {v}" for k, v in groups[group].items()), ""]
        text = "\n".join(lines)
    return text or ""


def _is_kept(name: str) -> bool:
    path = Path(name)
    if name.startswith(("..", "/")) or name.endswith(_LEFT_OUT):
        return False
    if path.parts[0].endswith(".dist-info") and path.name in _LEFT_OUT_INFO:
        return False
    return not _LEFT_OUT_FOLDERS.intersection(path.parts[:-1])


def files_of(parts: Iterable[Part], platform: Platform, scratch: Path) -> dict[str, bytes]:
    """Return name → content. Downloads into ``scratch`` what doesn't fit."""
    files: dict[str, bytes] = {}
    download = []
    for part in parts:
        if part.own is not None:
            files |= part.own
        elif part.installed is None:
            download.append(f"{part.name}=={part.version}")
        else:
            for file in part.installed.files or ():
                if _is_kept(str(file)):
                    files[str(file)] = Path(str(file.locate())).read_bytes()
    if download:
        _download(download, platform, scratch)
        for wheel in sorted(scratch.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                files |= {n: archive.read(n) for n in archive.namelist() if _is_wheel_file(n)}
    return files


def _is_wheel_file(name: str) -> bool:
    return not name.endswith("/") and ".data/" not in name and _is_kept(name)


def _download(requirements: list[str], platform: Platform, scratch: Path) -> None:
    major, minor = platform.libc_version
    if platform.libc == "glibc":
        systems = [f"manylinux_{major}_{n}_{platform.machine}" for n in range(minor, 4, -1)]
        systems += [f"{old}_{platform.machine}" for old in _OLD_NAMES]
    else:
        systems = [f"musllinux_1_{n}_{platform.machine}" for n in range(2, -1, -1)]
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    argv += ["--no-deps", "--only-binary=:all:", "--dest", str(scratch)]
    argv += ["--python-version", f"{platform.python[0]}.{platform.python[1]}"]
    argv += ["--implementation", platform.python_tag[:2]]
    for system in systems:
        argv += ["--platform", system]
    result = subprocess.run([*argv, *requirements], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
        why = lines[-1] if lines else result.stderr.strip()[-200:]
        raise InputError(
            f"a bundle for Python {platform.python[0]}.{platform.python[1]} on {platform.machine} "
            f"({platform.libc}) can't be built here: pip says {why!r}; run where a package index "
            "can be reached, or with the hosts' Python version and platform"
        )
