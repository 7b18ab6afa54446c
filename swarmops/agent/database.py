"""The worker's records in one sqlite file, so that a restart loses none.

Made by the agent. All access runs on one thread of its own, and changes that come while a write is
under way go into the next one. It never starts empty where a file was: a damaged file is an error.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path

import msgspec
import structlog

from swarmops.agent.records import Attempts, Record
from swarmops.errors import SwarmopsError
from swarmops.model.task import Task, TaskStatus

RETRY_S = 1.0
CLOSE_S = 5.0
log = structlog.get_logger(__name__)
_VERSION = 2
_SCHEMA = """
CREATE TABLE tasks (
    id TEXT PRIMARY KEY, task BLOB NOT NULL, status BLOB NOT NULL,
    executor TEXT NOT NULL, assigned INTEGER NOT NULL
) WITHOUT ROWID;
"""
_SEALED = f"""
CREATE TABLE sealed (id TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
ALTER TABLE tasks ADD COLUMN attempts BLOB NOT NULL DEFAULT x'80';
PRAGMA user_version = {_VERSION};
"""
"""What version 1 did not have; x'80' is an empty map."""
_KIND = 0xFF
"""These bits of sqlite's extended error codes say which error it is."""
_NOT_ITS_FAULT = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_NOMEM,
}
"""What the disk or the machine refuses: the file may be whole."""
_PUT = "INSERT OR REPLACE INTO tasks VALUES (?, ?, ?, ?, ?, ?)"
_encode = msgspec.msgpack.Encoder().encode
_decode_task = msgspec.msgpack.Decoder(Task).decode
_decode_status = msgspec.msgpack.Decoder(TaskStatus).decode
_decode_attempts = msgspec.msgpack.Decoder(Attempts).decode


class _Gone(Enum):
    """What was dropped, by its table."""

    TASK = "tasks"
    SEALED = "sealed"


_Change = Record | bytes | _Gone


class SqliteDatabase:
    """Records in a sqlite file.

    The journal is WAL with synchronous=NORMAL: a commit survives the daemon's death at any point,
    and only a power cut may take the last ones. Those are not needed then, since no process
    survives a power cut either: executors are asked what really runs.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, "tasks-db")
        self._changes: dict[str, _Change] = {}
        self._batch: asyncio.Future[None] | None = None
        self._writing: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None

    async def load(self) -> list[Record]:
        """Open the file, making it if there is none, and return all records."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._load)

    def put(self, record: Record) -> None:
        """Keep the record."""
        self._change(record.id, record)

    def forget(self, task_id: str) -> None:
        """Drop the task's record."""
        self._change(task_id, _Gone.TASK)

    async def load_sealed(self) -> dict[str, bytes]:
        """Return the sealed secrets and configs."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._load_sealed)

    def put_sealed(self, object_id: str, data: bytes) -> None:
        """Keep a sealed secret or config."""
        self._change(object_id, data)

    def forget_sealed(self, object_id: str) -> None:
        """Drop it."""
        self._change(object_id, _Gone.SEALED)

    async def flush(self) -> None:
        """Return once everything put so far is committed."""
        batch = self._batch or self._writing
        if batch is not None:
            await asyncio.shield(batch)

    async def close(self) -> None:
        """Commit what is left, if the disk takes it, and close the file."""
        if self._writer is not None:
            await asyncio.wait([self._writer], timeout=CLOSE_S)
            self._writer.cancel()
        if self._connection is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._connection.close)
            self._connection = None
        self._thread.shutdown(wait=False)

    def _change(self, object_id: str, change: _Change) -> None:
        self._changes[object_id] = change
        if self._batch is None:
            self._batch = asyncio.get_running_loop().create_future()
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """Commit until nothing is left: what comes during one commit goes into the next."""
        while self._batch is not None:
            changes, self._changes = self._changes, {}
            self._writing, self._batch = self._batch, None
            await self._commit_surely(changes)
            self._writing.set_result(None)
            self._writing = None

    async def _commit_surely(self, changes: dict[str, _Change]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.run_in_executor(self._thread, self._commit, changes)
            except sqlite3.Error as error:  # a full disk, most likely: it may be emptied
                log.warning("tasks cannot be written", path=str(self._path), error=str(error))
                await asyncio.sleep(RETRY_S)
            else:
                return

    def _load(self) -> list[Record]:
        try:
            if not self._path.exists():
                _create(self._path)
            self._connection = _open(self._path)
            rows = self._connection.execute("SELECT * FROM tasks").fetchall()
            return [
                Record(
                    _decode_task(task),
                    _decode_status(status),
                    executor,
                    bool(assigned),
                    _decode_attempts(attempts),
                )
                for _, task, status, executor, assigned, attempts in rows
            ]
        except (sqlite3.Error, msgspec.MsgspecError, _DamagedError) as error:
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & _KIND in _NOT_ITS_FAULT:
                raise SwarmopsError(
                    f"{self._path}: the worker's task database cannot be opened ({error}): "
                    "see that its disk has room and can be written, and start again."
                ) from error
            raise SwarmopsError(
                f"{self._path}: the worker's task database is damaged ({error}): restore it, or "
                "delete it to give up the tasks of this node, which are then stopped and replaced."
            ) from error

    def _commit(self, changes: dict[str, _Change]) -> None:
        if self._connection is None:
            raise SwarmopsError(f"{self._path}: the worker's task database is not open.")
        tasks = [
            (r.id, _encode(r.task), _encode(r.status), r.executor, r.assigned, _encode(r.attempts))
            for r in changes.values()
            if isinstance(r, Record)
        ]
        sealed = [(key, data) for key, data in changes.items() if isinstance(data, bytes)]
        with self._connection as connection:
            connection.executemany(_PUT, tasks)
            connection.executemany("INSERT OR REPLACE INTO sealed VALUES (?, ?)", sealed)
            for gone in _Gone:
                ids = [(key,) for key, change in changes.items() if change is gone]
                connection.executemany(f"DELETE FROM {gone.value} WHERE id = ?", ids)  # noqa: S608 - ours

    def _load_sealed(self) -> dict[str, bytes]:
        if self._connection is None:
            raise SwarmopsError(f"{self._path}: the worker's task database is not open.")
        return dict(self._connection.execute("SELECT id, data FROM sealed").fetchall())


class _DamagedError(Exception):
    """The file opens, but it is not what was written."""


def _create(path: Path) -> None:
    """Make the file whole or not at all, so that an empty one is known to be damaged."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    connection = sqlite3.connect(new)
    connection.executescript(_SCHEMA + _SEALED)
    connection.close()
    new.chmod(0o600)
    new.rename(path)


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        _check(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 1 and connection.execute("PRAGMA table_info(tasks)").fetchall():
        connection.executescript(f"BEGIN; {_SEALED} COMMIT;")
        version = _VERSION
    if version != _VERSION:
        raise _DamagedError(f"its version is {version}, not {_VERSION}")
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise _DamagedError(verdict)
