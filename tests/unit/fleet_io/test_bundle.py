"""The bundle: the same bytes from the same inputs, and a runtime that imports from it."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import msgspec
import pytest

from swarmops.backends import bundle, wheels
from swarmops.backends.wheels import Platform, fits
from swarmops.errors import InputError

HERE = wheels.here()
DEBIAN_12 = Platform(
    python=(3, 11),
    implementation="cpython",
    machine="x86_64",
    libc="glibc",
    libc_version=(2, 36),
)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests here: building takes a second or two."""
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="session")
def built(cache: Path) -> bundle.Bundle:
    """The bundle for this machine."""
    return bundle.build(HERE, cache)


def unpack(tar: tarfile.TarFile, folder: Path) -> None:
    """Unpack our own archive; the filter that newer Pythons ask for is not in Debian 12's."""
    if hasattr(tarfile, "data_filter"):
        tar.extractall(folder, filter="data")
    else:
        tar.extractall(folder)


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bytes(built: bundle.Bundle, tmp_path: Path) -> None:
    """Two builds, by two operators, are equal to the byte."""
    again = bundle.build(HERE, tmp_path)
    assert (again.release, again.sha256) == (built.release, built.sha256)
    assert built.release == bundle.release_of(HERE)


def test_a_build_from_the_cache_is_the_same(built: bundle.Bundle, cache: Path) -> None:
    """What comes from the cache is what was put there."""
    assert bundle.build(HERE, cache) == built


def test_changed_code_is_another_release_with_the_same_dependencies(
    built: bundle.Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changing our code changes the name, and compresses no dependency again."""
    own = wheels.own_part()
    assert own.own is not None
    changed = msgspec.structs.replace(
        own, own=own.own | {"swarmops/new.py": b"NEW = 1\n"}, digest="other"
    )
    monkeypatch.setattr(wheels, "own_part", lambda: changed)
    before = set(cache.iterdir())
    assert bundle.build(HERE, cache).release != built.release
    (layer,) = set(cache.iterdir()) - before
    assert layer.stat().st_size < 3 << 20


def test_another_python_is_another_release() -> None:
    """Hosts with different Pythons never share a release."""
    other = msgspec.structs.replace(HERE, python=(3, 13))
    assert bundle.release_of(other) != bundle.release_of(HERE)


def test_the_runtime_imports_from_an_unpacked_bundle(built: bundle.Bundle, tmp_path: Path) -> None:
    """Plain and compiled modules, package data and entry points are found, and nothing else is."""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(built.content))) as tar:
        unpack(tar, tmp_path)
    program = """
import sys
sys.path[:] = [p for p in sys.path if "site-packages" not in p and p]
import swarmops.runtime.node
from pathlib import Path
from swarmops.agent.executors import ExecutorContext, load_executors
found = load_executors(ExecutorContext(node_id="n", data_dir=Path(sys.argv[1], "data")))
assert {"docker", "podman", "process"} <= found.keys(), found
# To look for entry points takes a megabyte of each daemon: a release has a table.
assert "importlib.metadata" not in sys.modules
import aiohttp.http_parser, certifi, click, cryptography.x509, docker, msgspec, prometheus_client
import pysyncobj, structlog, swarmops.backends.hostside as hostside
from importlib import metadata
assert aiohttp.http_parser.HttpRequestParser.__module__ == "aiohttp._http_parser"
assert "BEGIN CERTIFICATE" in open(certifi.where()).read()
assert hostside.source("put").startswith('"')
assert {e.name for e in metadata.entry_points(group="swarmops.executors")} >= {"docker", "process"}
for absent in ("fabric", "paramiko", "hypothesis", "ruamel.yaml"):
    try:
        __import__(absent)
    except ImportError:
        continue
    raise AssertionError(absent)
for module in (aiohttp, click, docker, structlog, sys.modules["swarmops"]):
    assert module.__file__.startswith(sys.argv[1]), module.__file__
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path)],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("tag", "platform", "fitting"),
    [
        ("py3-none-any", DEBIAN_12, True),
        ("cp311-cp311-manylinux_2_17_x86_64", DEBIAN_12, True),
        ("cp311-cp311-manylinux2014_x86_64", DEBIAN_12, True),
        ("cp312-cp312-manylinux_2_17_x86_64", DEBIAN_12, False),
        ("cp37-abi3-manylinux_2_28_x86_64", DEBIAN_12, True),
        ("cp312-abi3-manylinux_2_28_x86_64", DEBIAN_12, False),
        ("cp311-cp311-manylinux_2_39_x86_64", DEBIAN_12, False),
        ("cp311-cp311-manylinux_2_17_aarch64", DEBIAN_12, False),
        ("cp311-cp311-musllinux_1_2_x86_64", DEBIAN_12, False),
        ("cp311-cp311-macosx_11_0_arm64", DEBIAN_12, False),
        ("cp311-cp311-linux_x86_64", DEBIAN_12, HERE.libc_version <= (2, 36)),
    ],
)
def test_a_compiled_package_is_taken_from_here_only_if_it_fits(
    tag: str, platform: Platform, *, fitting: bool
) -> None:
    """Wheels' tags decide: Python, ABI, processor, C library and its age."""
    assert fits(tag, platform) is fitting


def test_an_uninstalled_package_is_named() -> None:
    """A broken installation of ours says which package is missing."""
    with pytest.raises(InputError, match="package no-such-package is not installed here"):
        wheels.closure(["no-such-package"], HERE)


def test_without_an_index_another_platform_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle that needs downloads says why it can't be built, and leaves no half of it."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    other = msgspec.structs.replace(HERE, python=(HERE.python[0], HERE.python[1] + 1))
    with pytest.raises(InputError, match=r"a bundle for Python 3\.\d+ on .* can't be built here"):
        bundle.build(other, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_hosts_command_runs_from_an_unpacked_bundle(
    built: bundle.Bundle, tmp_path: Path
) -> None:
    """On a node ``swarmops node ls`` works with what the bundle brings: here, up to no socket."""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(built.content))) as tar:
        unpack(tar, tmp_path)
    done = subprocess.run(
        [sys.executable, "-S", "-c", _WITHOUT_SITE, str(tmp_path), "node", "ls"],
        env={"SWARMOPS_SOCKET": str(tmp_path / "absent.sock"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "ModuleNotFoundError" not in done.stderr
    assert "absent.sock" in done.stderr


_WITHOUT_SITE = """
import runpy, sys
release = sys.argv.pop(1)
sys.path.insert(0, release)
import sitecustomize
import rich.console, rich.live, rich.table, jinja2
runpy.run_module("swarmops", run_name="__main__")
"""
