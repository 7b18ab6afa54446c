"""The task database: what was put is found by the next daemon, and damage is never silence."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from swarmops.agent.database import SqliteDatabase, _Change
from swarmops.agent.records import Record
from swarmops.errors import SwarmopsError
from swarmops.model.task import TaskState, TaskStatus
from tests.unit.agent.conftest import make_task


def record(**changes: object) -> Record:
    """Return the record of a running task."""
    task = make_task(command=["true"], env=["A=ü"])
    return replace(
        Record(task=task, status=TaskStatus(state=TaskState.RUNNING), executor="process"), **changes
    )


async def written(path: Path, *records: Record) -> None:
    """Put the records into a database at the path."""
    database = SqliteDatabase(path)
    await database.load()
    for each in records:
        database.put(each)
    await database.flush()
    await database.close()


async def loaded(path: Path) -> list[Record]:
    """Return what a new daemon finds."""
    database = SqliteDatabase(path)
    try:
        return await database.load()
    finally:
        await database.close()


async def test_records_outlive_the_daemon(tmp_path: Path):
    """All of a record is found again, the latest of each task, and none that was forgotten."""
    path = tmp_path / "worker" / "tasks.db"
    first, second, gone = record(), record(assigned=False), record()
    database = SqliteDatabase(path)
    assert await database.load() == []
    database.put(first)
    database.put(gone)
    database.put(second)
    await database.flush()
    newer = replace(first, status=TaskStatus(state=TaskState.FAILED, err="x"))
    database.put(newer)
    database.forget(gone.id)
    await database.flush()
    assert sorted(await loaded(path), key=lambda r: r.id) == sorted(
        [newer, second], key=lambda r: r.id
    )
    await database.close()


async def test_the_file_is_for_its_owner_alone(tmp_path: Path):
    """Tasks may carry passwords in their environment."""
    path = tmp_path / "worker" / "tasks.db"
    await written(path, record())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"garbage" * 1000),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: sqlite3.connect(path).executescript("UPDATE tasks SET status = x'00'"),
        lambda path: sqlite3.connect(path).executescript("PRAGMA user_version = 9"),
        lambda path: sqlite3.connect(path).executescript("DROP TABLE tasks"),
    ],
    ids=["emptied", "garbage", "cut", "bad row", "other version", "no table"],
)
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
async def test_damage_is_one_clear_sentence(tmp_path: Path, damage: Callable[[Path], object]):
    """A damaged file stops the agent with the file's name and the cure; it is never empty."""
    path = tmp_path / "tasks.db"
    await written(path, *(record() for _ in range(20)))
    damage(path)
    with pytest.raises(SwarmopsError, match=r"tasks\.db: the worker's task database is damaged"):
        await loaded(path)


async def test_a_file_that_the_disk_refuses_is_not_called_damaged(tmp_path: Path):
    """Nobody is told to delete what may be whole."""
    path = tmp_path / "tasks.db"
    path.mkdir()
    with pytest.raises(SwarmopsError, match="cannot be opened") as caught:
        await loaded(path)
    assert "delete" not in str(caught.value)


async def test_a_full_disk_delays_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """While a commit fails it is tried again; who waits for it goes on waiting."""
    monkeypatch.setattr("swarmops.agent.database.RETRY_S", 0.01)
    path = tmp_path / "tasks.db"
    database = SqliteDatabase(path)
    await database.load()
    commit, failures = database._commit, iter([True, True, True])

    def sometimes(changes: dict[str, _Change]) -> None:
        if next(failures, False):
            raise sqlite3.OperationalError("database or disk is full")
        commit(changes)

    monkeypatch.setattr(database, "_commit", sometimes)
    kept = record()
    database.put(kept)
    await database.flush()
    assert await loaded(path) == [kept]
    assert next(failures, None) is None
    await database.close()
