"""Unpack a release as it arrives, switch to it, and install what supervises it.

Sent by the native backend, the bundle behind it. A release appears whole under its name or not at
all. A full disk or a spoilt transfer leaves nothing; one that was cut off leaves the part of the
bundle that arrived, for the next one to go on. The second time it changes nothing.
"""

# Importing pathlib costs milliseconds on every host of every apply.
# ruff: noqa: PTH102, PTH103, PTH105, PTH108, PTH110, PTH115, PTH120, PTH123, PTH208, PTH211

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import zlib

from swarmops.backends.hostside.arriving import Arriving, sweep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

_RELEASES_KEPT = 3
_BUFFER_BYTES = 1 << 18


class _Inflating(io.RawIOBase):
    """Gives what the gzip members hold that arrive.

    The gzip module works in 8 KiB steps, which is a third of the time that unpacking takes.
    """

    def __init__(self, arriving: Arriving) -> None:
        self.arriving = arriving
        self.inflater = zlib.decompressobj(wbits=31)
        self.ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def _fill(self) -> bool:
        part = self.inflater.unused_data if self.inflater.eof else b""
        if self.inflater.eof:
            self.inflater = zlib.decompressobj(wbits=31)
        if not part:
            part = self.arriving.read()
        self.ready = memoryview(self.inflater.decompress(part))
        return bool(part)

    def read(self, size: int = -1) -> bytes:
        while not self.ready and self._fill():
            pass
        part, self.ready = self.ready[:size], self.ready[size:]
        return bytes(part)


def _write(path: str, content: bytes | memoryview, mode: int = 0o644) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)


def _replace(path: str, text: str, mode: int = 0o644) -> bool:
    """Write a small file atomically; False if it was so already."""
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return False
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.swarmops-{os.getpid()}"
    try:
        _write(temporary, text.encode(), mode)
        os.chmod(temporary, mode)  # noqa: PTH101 - see above; the umask may have taken from it
        os.replace(temporary, path)
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)
    return True


def _link(target: str, path: str) -> bool:
    """Point a symbolic link somewhere else, atomically; False if it did so already."""
    try:
        if os.readlink(path) == target:
            return False
    except OSError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.swarmops-{os.getpid()}"
    os.symlink(target, temporary)
    os.replace(temporary, path)
    return True


def _sync(path: str) -> None:
    """Make everything below durable with one call: a thousand fsyncs take seconds."""
    import ctypes  # noqa: PLC0415 - only where something was unpacked

    fd = os.open(path, os.O_RDONLY)
    try:
        try:
            ctypes.CDLL(None).syncfs(fd)
        except AttributeError:
            os.sync()
    finally:
        os.close(fd)


def _extract(stream: _Inflating, folder: str) -> list[str]:
    """Write the files of a tar; returns the manifest's lines."""
    manifest, folders = [], {folder}
    with tarfile.open(fileobj=stream, mode="r|", bufsize=_BUFFER_BYTES) as tar:
        for member in tar:
            path = os.path.normpath(f"{folder}/{member.name}")
            if not member.isreg() or not path.startswith(f"{folder}/"):
                raise OSError(f"the bundle has a member that is no plain file: {member.name}")
            parent = os.path.dirname(path)
            if parent not in folders:
                os.makedirs(parent, exist_ok=True)
                folders.add(parent)
            source = tar.extractfile(member)
            assert source is not None  # noqa: S101 - it is a regular file
            _write(path, source.read())
            manifest.append(f"{member.size} {member.name}")
    return manifest


def _unpack(args: dict[str, Any], payload: BinaryIO) -> dict[str, Any] | None:
    """Unpack into a folder beside the releases and rename it; an answer only if it failed."""
    releases = f"{args['root_dir']}/releases"
    final, temporary = f"{releases}/{args['release']}", f"{releases}/.new-{os.getpid()}"
    for name in os.listdir(releases):
        if name.startswith(".new-") and not os.path.exists(f"/proc/{name[5:]}"):
            shutil.rmtree(f"{releases}/{name}", ignore_errors=True)
    try:
        os.mkdir(temporary, 0o755)
        manifest = _arrived(args, payload, temporary)
        if manifest is None:
            return {"error": "the transfer of the bundle broke off: apply again"}
        _write(f"{temporary}/.manifest", "".join(f"{line}\n" for line in manifest).encode())
        _sync(temporary)
        if os.path.isdir(final):  # noqa: PTH112 - see above; spoilt, else we were not sent
            shutil.rmtree(final)
        os.rename(temporary, final)  # noqa: PTH104 - see above
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return None


def _arrived(args: dict[str, Any], payload: BinaryIO, folder: str) -> list[str] | None:
    """Extract while it arrives; None if it didn't arrive whole."""
    arriving, keep = Arriving(args, payload), False
    try:
        try:
            manifest = _extract(_Inflating(arriving), folder)
            while arriving.read():  # nothing, unless the archive ended too early
                pass
        except (tarfile.TarError, zlib.error):
            manifest = []
        keep = True
        return manifest if arriving.whole else None
    finally:
        arriving.end(keep=keep)


def _prune(root_dir: str, keep: str) -> None:
    """Keep the present release and the newest few others, for going back."""
    releases = f"{root_dir}/releases"
    names = [n for n in os.listdir(releases) if not n.startswith(".") and n != keep]
    names.sort(key=lambda n: os.stat(f"{releases}/{n}").st_mtime, reverse=True)  # noqa: PTH116
    for name in names[_RELEASES_KEPT - 1 :]:
        shutil.rmtree(f"{releases}/{name}", ignore_errors=True)


def _group(name: str) -> bool:
    import grp  # noqa: PLC0415 - cheap, but only here

    try:
        grp.getgrnam(name)
    except KeyError:
        for argv in (["groupadd", "--system", name], ["addgroup", "-S", name]):
            if shutil.which(argv[0]):
                subprocess.run(argv, check=False, capture_output=True)
                return True
    return False


def main(args: dict[str, Any], payload: BinaryIO) -> dict[str, Any]:
    """``args``: root_dir, release, files, links, group, and those of ``Arriving`` (size 0: none).

    ``files`` is path → [text, mode], ``links`` path → target.
    """
    os.umask(0o022)
    bare = not os.path.exists(args["root_dir"])
    os.makedirs(f"{args['root_dir']}/releases", exist_ok=True)
    if args["size"]:
        if failed := _unpack(args, payload):
            return failed
    else:
        sweep(args["folder"], args["prefix"])
    changed = []
    if args["release"]:
        release = f"{args['root_dir']}/releases/{args['release']}"
        if _link(release, f"{args['root_dir']}/current"):
            changed.append("current")
        _prune(args["root_dir"], args["release"])
    if args["group"] and _group(args["group"]):
        changed.append("group")
    changed += [path for path, (text, mode) in args["files"].items() if _replace(path, text, mode)]
    changed += [path for path, target in args["links"].items() if _link(target, path)]
    # A unit that systemd never saw needs no reload (which takes longer than all of this). Of one
    # whose file or link somebody took away, it would go on telling what it saw last.
    if not bare and any(path.startswith("/etc/systemd/") for path in changed):
        subprocess.run(["systemctl", "daemon-reload"], check=False, capture_output=True)
    return {"changed": changed}
