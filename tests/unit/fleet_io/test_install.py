"""What the host does with a bundle: all of it or nothing."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from swarmops.backends import hostside
from swarmops.backends.hostside import facts, install, remove


def packed(files: dict[str, bytes]) -> bytes:
    """Return a small bundle."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(raw.getvalue())


def args(root: Path, content: bytes, release: str = "r1", **changes: Any) -> dict[str, Any]:
    """Return the arguments of an installation that only unpacks."""
    return {
        "root_dir": str(root),
        "release": release,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "folder": str(root / "releases"),
        "prefix": ".part-",
        "begun": None,
        "files": {},
        "links": {},
        "group": "",
    } | changes


FILES = {"own.zip": b"zip" * 1000, "ext/a.b.so": b"elf"}


def test_a_release_is_unpacked_and_switched_on(tmp_path: Path) -> None:
    """After an installation the release is there, current and whole."""
    content = packed(FILES)
    assert install.main(args(tmp_path, content), io.BytesIO(content)) == {"changed": ["current"]}
    current = tmp_path / "current"
    assert current.readlink() == tmp_path / "releases" / "r1"
    assert {n: (current / n).read_bytes() for n in FILES} == FILES
    assert facts._release_ok(str(current))


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    """Installing what is there, with nothing sent, reports no change."""
    content = packed(FILES)
    files = {str(tmp_path / "bin" / "tool"): ["#!/bin/sh\n", 0o755]}
    wanted = args(tmp_path, content, files=files)
    assert len(install.main(wanted, io.BytesIO(content))["changed"]) == 2
    assert (tmp_path / "bin" / "tool").stat().st_mode & 0o777 == 0o755
    assert install.main(wanted | {"size": 0}, io.BytesIO()) == {"changed": []}


@pytest.mark.parametrize("spoil", ["short", "flipped", "empty"])
def test_a_broken_transfer_installs_nothing(tmp_path: Path, spoil: str) -> None:
    """A bundle that doesn't arrive as it was sent is not installed; only what is right is kept."""
    content = packed(FILES)
    arrived, kept = {
        "short": (content[:-40], [content[:-40]]),
        "flipped": (content[:60] + bytes([content[60] ^ 1]) + content[61:], []),
        "empty": (b"", []),
    }[spoil]
    answer = install.main(args(tmp_path, content), io.BytesIO(arrived))
    assert "broke off" in answer["error"]
    assert [path.read_bytes() for path in (tmp_path / "releases").iterdir()] == kept
    assert not (tmp_path / "current").exists()


def test_parts_of_cut_transfers_are_swept(tmp_path: Path) -> None:
    """Cut again and again, a transfer leaves one part; an installation leaves none."""
    content = packed(FILES)
    for length in (50, 60, 70):
        install.main(args(tmp_path, content), io.BytesIO(content[:length]))
    (part,) = (tmp_path / "releases").iterdir()
    assert part.read_bytes() == content[:70]
    assert part.stat().st_mode & 0o777 == 0o600
    wanted = args(tmp_path, content, begun=[str(part), 70])
    assert install.main(wanted, io.BytesIO(content[70:])) == {"changed": ["current"]}
    assert [path.name for path in (tmp_path / "releases").iterdir()] == ["r1"]
    part.touch()
    install.main(wanted | {"size": 0}, io.BytesIO())
    assert [path.name for path in (tmp_path / "releases").iterdir()] == ["r1"]


def test_a_part_that_is_not_what_it_was_installs_nothing(tmp_path: Path) -> None:
    """What became shorter, or other, after it was looked at shows in the hash of the whole."""
    content = packed(FILES)
    (tmp_path / "releases").mkdir()
    part = tmp_path / "releases" / ".part-x"
    for now in (content[:40], bytes(70)):
        part.write_bytes(now)
        wanted = args(tmp_path, content, begun=[str(part), 70])
        assert "broke off" in install.main(wanted, io.BytesIO(content[70:]))["error"]
        assert not (tmp_path / "current").exists()


def test_a_damaged_release_is_noticed_and_replaced(tmp_path: Path) -> None:
    """Power lost while unpacking shows in the facts, and the next installation heals it."""
    content = packed(FILES)
    install.main(args(tmp_path, content), io.BytesIO(content))
    damaged = tmp_path / "releases" / "r1" / "own.zip"
    damaged.write_bytes(b"")
    assert not facts._release_ok(str(tmp_path / "current"))
    install.main(args(tmp_path, content), io.BytesIO(content))
    assert damaged.read_bytes() == FILES["own.zip"]


def test_a_bundle_cannot_write_outside_its_release(tmp_path: Path) -> None:
    """A member that leads out of the release is refused."""
    content = packed({"../../escaped": b"x"})
    with pytest.raises(OSError, match="no plain file"):
        install.main(args(tmp_path / "opt", content), io.BytesIO(content))
    assert not list(tmp_path.rglob("escaped"))


def test_old_releases_are_pruned_but_for_a_few(tmp_path: Path) -> None:
    """The disk doesn't fill with releases, and there is one to go back to."""
    content = packed(FILES)
    for number in range(6):
        install.main(args(tmp_path, content, f"r{number}"), io.BytesIO(content))
        os.utime(tmp_path / "releases" / f"r{number}", (number, number))
    names = {path.name for path in (tmp_path / "releases").iterdir()}
    assert names == {"r5", "r4", "r3"}


_TASK = "0123456789abcdefghijklmno"
_OTHER = "zzzzzzzzzzzzzzzzzzzzzzzzz"


def _sleeper(task: str, script: str = "sleep 60") -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["setsid", "sh", "-c", f"{script} & echo; wait"],
        env={"SWARMOPS_TASK_ID": task, "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
    )


def test_removal_ends_the_nodes_tasks_and_nobody_elses(tmp_path: Path) -> None:
    """Processes of this node's tasks end, with children that hid; those of other nodes go on."""
    data_dir, sock = tmp_path / "node", tmp_path / "run" / "node.sock"
    (data_dir / "worker" / "tasks" / _TASK).mkdir(parents=True)
    (data_dir / ".swarmops").touch()
    mine, others = _sleeper(_TASK, "env -i sleep 61"), _sleeper(_OTHER)
    try:
        for process in (mine, others):
            assert process.stdout is not None
            process.stdout.readline()
        answer = remove.main(
            {
                "data_dir": str(data_dir),
                "socket": str(sock),
                "lock_file": str(data_dir.parent / ".node.apply-lock"),
                "node_id": "",
                "root_dir": "",
                "unit": "",
                "wrapper": "",
                "group": "",
            },
            io.BytesIO(),
        )
        assert answer["killed"] == 2
        mine.wait(60)  # its child may have died first: then it ends with 0
        assert others.poll() is None
        assert not data_dir.exists()
    finally:
        for process in (mine, others):
            for pid in remove._processes({_TASK, _OTHER}, ""):
                os.kill(pid, 9)
            process.wait(60)
            assert process.stdout is not None
            process.stdout.close()


def test_a_folder_that_is_no_nodes_is_left_alone(tmp_path: Path) -> None:
    """A data directory that was never a node's is refused, not deleted."""
    (tmp_path / "precious").touch()
    answer = remove.main({"data_dir": str(tmp_path)}, io.BytesIO())
    assert "is not a node's" in answer["error"]
    assert (tmp_path / "precious").exists()


def test_a_folder_that_a_daemon_made_anew_is_a_nodes(tmp_path: Path) -> None:
    """Somebody removed it under the running daemon: it can be removed for good all the same."""
    assert remove._is_a_nodes(str(tmp_path))
    (tmp_path / "node.json").touch()
    assert not remove._is_a_nodes(str(tmp_path))
    (tmp_path / "worker").mkdir()
    assert remove._is_a_nodes(str(tmp_path))


def test_programs_for_hosts_need_only_the_standard_library() -> None:
    """What is sent to hosts imports nothing else but what is sent with it, and runs with -IS.

    Nor ``typing``, which costs milliseconds at each start and does nothing there.
    """
    folder = Path(facts.__file__).parent
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            sent = hostside.stdin_of(path.stem, {}).partition(b"\n")[2]
            loaded = sent.replace(
                b'scope["main"](ARGS, sys.stdin.buffer)', b'"typing" in sys.modules'
            )
            assert loaded != sent
            done = subprocess.run(
                [sys.executable, "-IS", "-"], input=loaded, capture_output=True, check=False
            )
            assert done.stdout == b"false\n", (path.name, done.stderr.decode())
