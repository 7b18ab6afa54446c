"""When a process task's line was written: marks beside the file, bounded in number."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swarmops.agent.executors import output
from swarmops.agent.executors.base import LogRequest


def write(folder: Path, text: str, second: int, *, mark: bool = True) -> None:
    """Append to stdout at a time; mark it, as the daemon does every few seconds."""
    path = output.path_of(folder, "stdout")
    with path.open("a") as file:
        file.write(text)
    os.utime(path, (second, second))
    if mark:
        output.trim(path)


async def read(folder: Path, tail: int = -1) -> list[tuple[str, int]]:
    """Return each line with the second of its time."""
    found = []
    async for line in output.read(folder, LogRequest(tail=tail)):
        assert line.time is not None
        found.append((line.data.decode(), int(line.time.timestamp())))
    return found


async def test_a_line_s_time_is_that_of_the_first_mark_behind_it(tmp_path: Path):
    """What no mark knows yet has the time of the last write."""
    write(tmp_path, "a\nb\nhalf ", 100)
    write(tmp_path, "of c\nd\n", 200)
    write(tmp_path, "e\nf", 300, mark=False)
    times = [("a", 100), ("b", 100), ("half of c", 100), ("d", 200), ("e", 300), ("f", 300)]
    assert await read(tmp_path) == times
    assert await read(tmp_path, tail=3) == times[-3:]


async def test_marks_are_bounded_and_stay_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of too many every second one goes: times get late, never early; a cut file begins anew."""
    monkeypatch.setattr(output, "MARKS_MAX", 4)
    for second in range(100, 130):
        write(tmp_path, f"{second}\n", second)
    marks = tmp_path / "stdout.times"
    assert marks.stat().st_size <= 8 * 16
    found = await read(tmp_path)
    assert [int(text) for text, _ in found] == list(range(100, 130))
    assert all(seen >= int(text) for text, seen in found)
    assert sorted(seen for _, seen in found) == [seen for _, seen in found]
    output.path_of(tmp_path, "stdout").write_text("")
    write(tmp_path, "new\n", 500)
    assert await read(tmp_path) == [("new", 500)]


async def test_an_unmarked_file_has_the_time_of_its_last_write(tmp_path: Path):
    """Nothing is marked without growth, and a mark cut by a crash is ignored."""
    write(tmp_path, "a\n", 100)
    output.trim(output.path_of(tmp_path, "stdout"))
    marks = tmp_path / "stdout.times"
    assert marks.stat().st_size == 16
    marks.write_bytes(marks.read_bytes()[:7])
    assert await read(tmp_path) == [("a", 100)]
    write(tmp_path, "b\n", 200)
    write(tmp_path, "c\n", 300)
    assert await read(tmp_path) == [("a", 200), ("b", 200), ("c", 300)]
