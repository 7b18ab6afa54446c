"""The bundle: the node's runtime with everything it imports, for one Python and one platform.

Built on the operator's machine by the native backend, cached there, and unpacked on hosts as one
release. Two layers, dependencies and own code, are cached apart and joined: changing our code
doesn't compress cryptography again. The same inputs give the same bytes.
"""

from __future__ import annotations

import configparser
import gzip
import hashlib
import io
import os
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import msgspec

import swarmops
from swarmops.backends import hostside, wheels
from swarmops.backends.base import Facts
from swarmops.backends.compact import bytecode, loaded_part
from swarmops.backends.wheels import Part, Platform

RECIPE = "4"
"""Changes when the way of building does, so that old caches and releases are not taken for new."""
ROOTS = (
    "aiohttp",
    "click",
    "cronsim",
    "cryptography",
    "docker",
    "jinja2",
    "msgspec",
    "prometheus-client",
    "pysyncobj",
    "structlog",
)
OWN = "swarmops"
EXECUTORS = "swarmops.executors"
"""The group of entry points; a release has a table of them, a module of ours."""
ALONE = ("rich",)
"""Taken without what they need: tables on hosts need no syntax colouring."""
_COMPRESS_LEVEL = 6
"""Measured: 9 takes four times as long for 1 % less, 1 gives 12 % more to send to every host."""
_LAYERS_KEPT = 12
_LAST = "own"


class Bundle(msgspec.Struct, frozen=True):
    """A built bundle: gzip of a tar, its length and its SHA-256."""

    release: str
    content: bytes
    sha256: str


def platform_of(facts: Facts) -> Platform:
    """Return what has to fit: the host's Python, processor and C library."""
    python = facts.python
    return Platform(
        python=python.version[:2],
        implementation=python.implementation,
        machine=facts.machine,
        libc=python.libc,
        libc_version=python.libc_version,
    )


def release_of(platform: Platform) -> str:
    """Return the name of the release that such a host needs, 16 hexadecimal digits.

    Reads what is installed here; downloads nothing. Raises InputError if a package is missing.
    """
    return _release_id([_dependencies(platform), _own()], platform)


def build(platform: Platform, cache: Path | None = None) -> Bundle:
    """Return the bundle, from the cache where its layers are there.

    Raises InputError: a package that has to be downloaded for this platform can't be.
    """
    folder = cache or cache_dir()
    dependencies, own = _dependencies(platform), _own()
    layers = [
        _layer(dependencies, platform, folder, name="deps"),
        _layer(own, platform, folder, name=_LAST),
    ]
    content = b"".join(layers)
    release = _release_id([dependencies, own], platform)
    return Bundle(release, content, hashlib.sha256(content).hexdigest())


def cache_dir() -> Path:
    """Return where layers are kept, below ``$XDG_CACHE_HOME``."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "swarmops" / "bundles"


def _dependencies(platform: Platform) -> list[Part]:
    """Return what the runtime needs, and the executors that are installed here besides ours."""
    entries = metadata.entry_points(group=EXECUTORS)
    others = {entry.dist.name for entry in entries if entry.dist} - {OWN}
    return wheels.closure((*ROOTS, *sorted(others)), platform, alone=ALONE, without={OWN})


def _own() -> list[Part]:
    return [wheels.own_part(), _executors()]


def _executors() -> Part:
    """Return the table of ours and of those that are installed here besides."""
    ours = configparser.ConfigParser(delimiters="=", interpolation=None)
    ours.read_string(wheels.own_entry_points())
    others = {entry.name: entry.value for entry in metadata.entry_points(group=EXECUTORS)}
    points = {**others, **ours[EXECUTORS]}
    text = f"POINTS = {dict(sorted(points.items()))!r}\n"
    files = {"swarmops/agent/executors/table.py": text.encode()}
    return Part("swarmops-executors", swarmops.__version__, _digest([text]), own=files)


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _release_id(layers: Iterable[list[Part]], platform: Platform) -> str:
    return _digest([_layer_id(parts, platform) for parts in layers])


def _layer_id(parts: list[Part], platform: Platform) -> str:
    where = f"{platform.python_tag}-{platform.machine}-{platform.libc}"
    return _digest([RECIPE, where, *(f"{p.name}={p.version}:{p.digest}" for p in parts)])


def _layer(parts: list[Part], platform: Platform, cache: Path, *, name: str) -> bytes:
    path = cache / f"{_layer_id(parts, platform)}.tar.gz"
    if path.exists():
        path.touch()
        return path.read_bytes()
    with tempfile.TemporaryDirectory() as scratch:
        files = wheels.files_of(parts, platform, Path(scratch))
        laid = lay_out(files, platform, f"{name}.zip")
    if name == _LAST:
        laid["sitecustomize.py"] = hostside.source("sitecustomize").encode()
    content = _archive(laid, last=name == _LAST)
    cache.mkdir(parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=cache, prefix=".new-")
    with os.fdopen(fd, "wb") as out:
        out.write(content)
    Path(temporary).replace(path)
    _prune(cache)
    return content


def _prune(cache: Path) -> None:
    """Forget the layers that were not used for longest."""
    layers = sorted(cache.glob("*.tar.gz"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in layers[_LAYERS_KEPT:]:
        path.unlink(missing_ok=True)


def lay_out(files: dict[str, bytes], platform: Platform, archive: str) -> dict[str, bytes]:
    """Return a release's few files from its packages' many, see ``hostside.sitecustomize``.

    Packages with data of their own stay folders: not every one finds its data in an archive.
    """
    laid: dict[str, bytes] = {}
    folders = {_top(name) for name in files if _is_data(name)}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as out:
        for name in sorted(files):
            if name.endswith(".so"):
                module = name.partition(".")[0].replace("/", ".")
                laid[f"ext/{module}.so"] = loaded_part(files[name])
            elif _top(name) in folders:
                laid[name] = files[name]
            else:
                for kept, content in _as_loaded(name, files[name], platform):
                    out.writestr(zipfile.ZipInfo(kept), content)
    laid[archive] = packed.getvalue()
    return laid


def _as_loaded(name: str, content: bytes, platform: Platform) -> Iterator[tuple[str, bytes]]:
    """Give a file as it goes into the archive: of others' modules bytecode alone.

    Ours keep their source, for tracebacks, and their docstrings, which click shows.
    """
    own = _top(name) == "swarmops"
    compiled = name.endswith(".py") and platform.python_tag == wheels.here().python_tag
    if own or not compiled:
        yield name, content
    if compiled:
        yield f"{name}c", bytecode(name, content, optimize=0 if own else 2)


def _top(name: str) -> str:
    return name.partition("/")[0]


def _is_data(name: str) -> bool:
    return not (name.endswith((".py", ".so", "/py.typed", ".md", ".txt")) or ".dist-info/" in name)


def _archive(files: dict[str, bytes], *, last: bool) -> bytes:
    """Make a gzip member; tar's end mark comes with the last layer only, so that they join."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files):
            info = tarfile.TarInfo(name)
            info.size = len(files[name])
            tar.addfile(info, io.BytesIO(files[name]))
        end = tar.offset
    return gzip.compress(raw.getvalue()[: None if last else end], _COMPRESS_LEVEL, mtime=0)
