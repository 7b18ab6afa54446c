"""Secrets and configs: delivered as files in memory, kept sealed, shown to nobody else."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from swarmops.agent.database import SqliteDatabase
from swarmops.agent.executors.base import ExecutorContext, TaskError
from swarmops.agent.executors.memory_files import MemoryFiles, file_system
from swarmops.agent.records import Record
from swarmops.agent.task_files import Dependencies, TaskFile
from swarmops.agent.vault import KEY_FILE, KeyFile, Vault
from swarmops.agent.work import make_work
from swarmops.errors import InputError
from swarmops.model.secret import Config, ConfigSpec, Secret, SecretSpec
from swarmops.model.service import ConfigReference, Driver, FileTarget, SecretReference
from swarmops.model.session import Assignments
from swarmops.model.task import TaskStatus
from tests.unit.agent.conftest import FACTS, Bench, make_task

CLEAR = "hunter2-in-clear"
GOLANG = Driver(name="golang")


def secret(data: str = CLEAR, **fields: Any) -> Secret:
    """Return the secret s1."""
    text = base64.b64encode(data.encode()).decode()
    return Secret(id="s1", spec=SecretSpec(name="pw", data=text, **fields))


def config(data: str, **fields: Any) -> Config:
    """Return the config c1."""
    text = base64.b64encode(data.encode()).decode()
    return Config(id="c1", spec=ConfigSpec(name="conf", data=text, **fields))


def held(*objects: Secret | Config) -> Dependencies:
    """Return what a node holds."""
    return Dependencies(
        {each.id: each for each in objects if isinstance(each, Secret)},
        {each.id: each for each in objects if isinstance(each, Config)},
    )


def secret_ref(name: str = "pw", **target: Any) -> SecretReference:
    """Refer to s1."""
    file = FileTarget(name=name, **target)
    return SecretReference(secret_id="s1", secret_name="pw", file=file)


def config_ref(name: str = "conf", **target: Any) -> ConfigReference:
    """Refer to c1."""
    file = FileTarget(name=name, **target)
    return ConfigReference(config_id="c1", config_name="conf", file=file)


def assignments(*objects: Secret | Config, complete: bool = True, dropped: str = "") -> Assignments:
    """Return a frame with secrets and configs."""
    return Assignments(
        complete=complete,
        tasks=[],
        removed=[],
        secrets=[each for each in objects if isinstance(each, Secret)],
        configs=[each for each in objects if isinstance(each, Config)],
        dropped_dependencies=[dropped] if dropped else [],
    )


def files_of(spec: dict[str, Any], *objects: Secret | Config) -> list[TaskFile]:
    """Return the files of a task with these references."""
    return list(make_work(make_task(**spec), FACTS, held(*objects)).files)


@pytest.mark.parametrize(
    ("file", "path"),
    [
        (TaskFile("secret", "pw", b""), "/run/secrets/pw"),
        (TaskFile("secret", "/etc/pw", b""), "/etc/pw"),
        (TaskFile("config", "conf", b""), "/conf"),
        (TaskFile("config", "/etc/conf", b""), "/etc/conf"),
    ],
)
def test_files_are_where_docker_has_them(file: TaskFile, path: str):
    """Secrets in /run/secrets, configs at the root, absolute names as they are."""
    assert file.container_path == path


def test_a_templated_config_is_filled_in():
    """Placeholders of services, and the functions secret, config and env."""
    text = '{{ .Service.Name }} {{.Task.Slot}} {{ secret "pw" }} {{ env "A" }} {{ config "conf" }}'
    spec = {"secrets": [secret_ref()], "configs": [config_ref()], "env": ["A=1"]}
    filled = files_of(spec, secret("x"), config(text, templating=GOLANG))[1]
    assert filled.data.decode() == f"web 2 x 1 {text}"
    plain = files_of(spec, secret("x"), config(text))[1]
    assert plain.data.decode() == text


@pytest.mark.parametrize(
    ("spec", "objects", "message"),
    [
        ({"secrets": [secret_ref()]}, [], "secret not found: pw"),
        ({"configs": [config_ref()]}, [], "config not found: conf"),
        ({"secrets": [secret_ref("../x")]}, [secret()], "is no name for a file"),
        ({"secrets": [secret_ref("a\0b")]}, [secret()], "is no name for a file"),
        ({"secrets": [secret_ref(uid="www")]}, [secret()], "must be numbers"),
        ({"secrets": [secret_ref(uid="2147483648")]}, [secret()], "must be numbers up to 21474836"),
        ({"secrets": [secret_ref(gid="9" * 5000)]}, [secret()], "must be numbers up to 2147483647"),
        ({"secrets": [secret_ref()]}, [secret("{{" + CLEAR + "}}", templating=GOLANG)], "filled"),
        ({"secrets": [secret_ref()]}, [secret(templating=Driver(name="x"))], "driver"),
    ],
)
def test_what_cannot_be_delivered_is_refused(
    spec: dict[str, Any], objects: list[Secret | Config], message: str
):
    """With a reason that shows nothing of the content."""
    with pytest.raises(InputError, match=message) as caught:
        files_of(spec, *objects)
    error: BaseException | None = caught.value
    assert CLEAR not in str(error)
    assert caught.value.__cause__ is None


def test_no_repr_shows_a_secret():
    """Whatever is logged by accident."""
    work = make_work(make_task(secrets=[secret_ref()]), FACTS, held(secret()))
    assert work.files[0].data == CLEAR.encode()
    for text in (repr(work), repr(held(secret()))):
        assert CLEAR not in text
        assert base64.b64encode(CLEAR.encode()).decode() not in text


@pytest.mark.root
async def test_a_task_finds_its_files(bench: Bench):
    """With name, owner, group, mode and content; gone from the node with the task."""
    target: dict[str, Any] = {"uid": "65534", "gid": "4", "mode": 0o440}
    script = (
        'd=${SWARMOPS_SECRETS_DIR:-/run/secrets}; c=${SWARMOPS_CONFIGS_DIR:-}; '
        'cat "$d/pw"; echo; stat -c "%u %g %a" "$d/pw"; cat "$c/etc/conf"'
    )  # fmt: skip
    work = await bench.started(
        script,
        user="65534:4",
        secrets=[secret_ref(**target)],
        configs=[config_ref("/etc/conf")],
        held=held(secret(), config("listen 80\n")),
    )
    end = await bench.executor.wait(work)
    lines = [line for _, line in await bench.lines(work)]
    assert lines == [CLEAR, "65534 4 440", "listen 80"], end
    base = bench.context.memory_base
    assert base is not None
    assert any(base.iterdir())
    await bench.executor.remove(work)
    assert not any(base.iterdir())


def traces(folder: Path) -> bytes:
    """Return the files that have the secret in them, in clear or as it travels."""
    encoded = base64.b64encode(CLEAR.encode()).decode()
    command = ["grep", "-rlas", "-e", CLEAR, "-e", encoded, str(folder)]
    return subprocess.run(command, capture_output=True, check=False).stdout


@pytest.mark.root
async def test_a_secret_is_on_no_disk(bench: Bench):
    """Neither in the node's own folder nor, for containers, in the engine's."""
    work = await bench.started("sleep 60", secrets=[secret_ref()], held=held(secret()))
    folders = [bench.context.data_dir]
    if bench.image != "host":
        host = {"docker": bench.context.docker_host, "podman": bench.context.podman_host}
        folders.append(Path(host[bench.executor.name].removeprefix("unix://")).parent / "data")
    for folder in folders:
        assert traces(folder) == b""
    await bench.executor.remove(work)


@pytest.mark.root
async def test_files_of_forgotten_tasks_are_removed(bench: Bench):
    """A restarted daemon leaves only those of tasks that it knows."""
    kept, lost = [
        await bench.started("sleep 60", secrets=[secret_ref()], held=held(secret()))
        for _ in range(2)
    ]
    await (await bench.another()).reattach([kept.id])
    base = bench.context.memory_base
    assert base is not None
    (place,) = base.iterdir()
    assert [each.name for each in place.iterdir()] == [kept.id]
    assert lost.id != kept.id


def test_files_are_never_put_on_a_disk(context: ExecutorContext, tmp_path: Path):
    """Without a file system in memory the task is refused."""
    table = (
        "1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / /run rw - tmpfs b rw\n3 1 0:2 / /ru rw - xfs c rw\n"
    )
    assert file_system(Path("/run/x"), table) == "tmpfs"
    assert file_system(Path("/var"), table) == "ext4"
    files = MemoryFiles(replace(context, memory_base=Path("/proc")))
    with pytest.raises(TaskError, match="no file system in memory"):
        files.write("t1", [TaskFile("secret", "a", b"x")], ["a"], (0, 0))
    assert tmp_path.exists()


def test_a_folder_of_somebody_else_is_not_used(context: ExecutorContext):
    """Nobody can have secrets written where they look."""
    assert context.memory_base is not None
    (context.memory_base / "elsewhere").mkdir()
    place = context.memory_base / f"swarmops-tasks-{context.node_id}"
    place.symlink_to(context.memory_base / "elsewhere")
    with pytest.raises((TaskError, FileExistsError)):
        MemoryFiles(context).write("t1", [TaskFile("secret", "a", b"x")], ["a"], (0, 0))
    assert not list((context.memory_base / "elsewhere").iterdir())


async def test_secrets_survive_a_restart_sealed(tmp_path: Path):
    """Nothing is readable in the database, and the key is for its owner alone."""
    database = SqliteDatabase(tmp_path / "tasks.db")
    await database.load()
    vault = Vault(database, KeyFile(tmp_path / KEY_FILE))
    vault.take(assignments(secret(), config("c", templating=GOLANG)))
    await database.close()
    assert (tmp_path / "tasks.db").stat().st_size
    assert traces(tmp_path) == b""
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600

    database = SqliteDatabase(tmp_path / "tasks.db")
    await database.load()
    again = Vault(database, KeyFile(tmp_path / KEY_FILE))
    await again.restore([])
    assert again.held.secrets == {"s1": secret()}
    assert again.held.configs == {"c1": config("c", templating=GOLANG)}
    again.take(assignments(complete=False, dropped="s1"))
    again.take(assignments())
    await database.flush()
    assert await database.load_sealed() == {}
    assert not again.held.secrets
    assert not again.held.configs
    await database.close()


async def test_registry_credentials_are_kept_like_secrets(tmp_path: Path):
    """Sealed, for as long as the node has the task; no work shows them when it is printed."""
    task = make_task()
    database = SqliteDatabase(tmp_path / "tasks.db")
    await database.load()
    vault = Vault(database, KeyFile(tmp_path / KEY_FILE))
    auths = {task.id: CLEAR, "forgotten": CLEAR}
    vault.take(replace(assignments(), registry_auths=auths))
    await database.close()
    assert traces(tmp_path) == b""

    database = SqliteDatabase(tmp_path / "tasks.db")
    await database.load()
    again = Vault(database, KeyFile(tmp_path / KEY_FILE))
    await again.restore([task.id])
    work = make_work(task, FACTS, again.held)
    assert work.registry_auth == CLEAR
    assert CLEAR not in repr(work)
    await database.flush()
    assert len(await database.load_sealed()) == 1
    again.forget_task(task.id)
    await database.flush()
    assert await database.load_sealed() == {}
    assert make_work(task, FACTS, again.held).registry_auth == ""
    await database.close()


async def test_a_lost_key_costs_only_what_it_sealed(tmp_path: Path):
    """What cannot be opened is dropped, and a manager sends it again."""
    database = SqliteDatabase(tmp_path / "tasks.db")
    await database.load()
    Vault(database, KeyFile(tmp_path / KEY_FILE)).take(assignments(secret()))
    await database.flush()
    (tmp_path / KEY_FILE).write_bytes(os.urandom(32))
    vault = Vault(database, KeyFile(tmp_path / KEY_FILE))
    await vault.restore([])
    assert not vault.held.secrets
    await database.flush()
    assert await database.load_sealed() == {}
    await database.close()


async def test_a_database_of_the_first_version_is_taken_over(tmp_path: Path):
    """A node that is updated keeps its tasks."""
    import sqlite3

    import msgspec

    task = make_task()
    with sqlite3.connect(tmp_path / "tasks.db") as old:
        old.execute(
            "CREATE TABLE tasks (id TEXT PRIMARY KEY, task BLOB NOT NULL, status BLOB NOT NULL, "
            "executor TEXT NOT NULL, assigned INTEGER NOT NULL) WITHOUT ROWID"
        )
        encode = msgspec.msgpack.encode
        row = (task.id, encode(task), encode(TaskStatus()), "process", 1)
        old.execute("INSERT INTO tasks VALUES (?, ?, ?, ?, ?)", row)
        old.execute("PRAGMA user_version = 1")
    old.close()
    database = SqliteDatabase(tmp_path / "tasks.db")
    assert await database.load() == [Record(task, TaskStatus(), "process")]
    assert await database.load_sealed() == {}
    await database.close()


def test_a_node_without_secrets_never_loads_the_cipher():
    """A worker's memory is small: the cipher costs megabytes."""
    code = (
        "import sys; import swarmops.agent.agent, swarmops.agent.executors.process; "
        "sys.exit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
