"""``include`` in a stack's Compose files: each project with its own folder and variables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from swarmops.errors import InputError
from swarmops.fleet.document import parse_document
from swarmops.fleet.inventory import read_inventory
from swarmops.fleet.playbook import Playbook, build_playbook
from swarmops.model.base import to_builtins

FILES = {
    "shop.yml": """
include:
  - shared/db.yml
  - path: [queue/queue.yml, more.yml]
    project_directory: data
    env_file: [queue.env]
services:
  web: {image: "web:${TAG}", networks: [back], secrets: [password]}
""",
    ".env": "TAG=1\n",
    "shared/.env": "TAG=2\nDB_TAG=3\nLEVEL=low\n",
    "shared/db.yml": """
include: [deeper/net.yml]
services:
  db:
    image: "db:${TAG}-${DB_TAG}"
    env_file: db.env
    environment: [LEVEL]
    networks: [back]
    secrets: [password]
secrets: {password: {file: password}}
configs: {page: {template: page.j2}}
""",
    "shared/db.env": "HERE=shared\n",
    "shared/password": "sesame",
    "shared/page.j2": "of {{ stack_owner }}",
    "shared/deeper/net.yml": "networks: {back: {internal: true}}",
    "queue.env": "DEPTH=7\nTAG=9\n",
    "queue/queue.yml": "services: {queue: {image: 'queue:${DEPTH}', env_file: queue.env}}",
    "data/queue.env": "HERE=data\n",
    "more.yml": "services: {queue: {environment: {MORE: '${TAG}'}}}",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stack of several projects."""
    for name in ("TAG", "DB_TAG", "LEVEL", "DEPTH"):
        monkeypatch.delenv(name, raising=False)
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def play(folder: Path, compose: str = "shop.yml") -> Playbook:
    """Return the playbook with these files as its one stack."""
    (folder / "inventory.yml").write_text("all: {hosts: {a: }, vars: {stack_owner: me}}\n")
    document = parse_document(f"stacks: {{s: {{compose: {compose}}}}}", str(folder / "p.yml"))
    return build_playbook(document, read_inventory(folder / "inventory.yml"))


def container(playbook: Playbook, name: str) -> dict[str, Any]:
    """Return what a service's containers are made of, as Docker has it."""
    plain: Any = to_builtins(playbook.services[name])
    found: dict[str, Any] = plain["TaskTemplate"]["ContainerSpec"]
    return found


def test_an_included_project_has_its_own_folder_and_variables(folder: Path):
    """Its own `.env` or env_file, weaker than the including project's; paths of its own."""
    playbook = play(folder)
    assert set(playbook.services) == {"s_web", "s_db", "s_queue"}
    db, queue = container(playbook, "s_db"), container(playbook, "s_queue")
    assert (db["Image"], db["Env"]) == ("db:1-3", ["HERE=shared", "LEVEL=low"])
    assert (queue["Image"], queue["Env"]) == ("queue:7", ["HERE=data", "MORE=1"])
    assert {(one.name, one.content) for one in playbook.materials} == {
        ("s_password", b"sesame"),
        ("s_page", b"of me"),
    }


def test_commands_of_an_included_project_run_in_its_folder(folder: Path):
    """Of the project itself, of one that it includes, and in the folder that one names."""
    (folder / "shared" / "deeper" / "net.yml").write_text(
        "secrets: {deep: {command: [./say]}, up: {command: [./say], working_dir: ..}}\n"
        "networks: {back: }"
    )
    (folder / "more.yml").write_text("configs: {mine: {command: [./say]}}")
    for where in ("shared", "shared/deeper", "data"):
        said = folder / where / "say"
        said.write_text("#!/bin/sh\npwd\n")
        said.chmod(0o755)
    found = {one.name: Path(one.content.decode()) for one in play(folder).materials}
    assert found["s_deep"].relative_to(folder) == Path("shared/deeper")
    assert found["s_up"].relative_to(folder) == Path("shared")
    assert found["s_mine"].relative_to(folder) == Path("data")


def test_the_same_command_in_two_folders_is_not_the_same_secret(folder: Path):
    """It may print something else there, so the two are not taken for one."""
    for where in ("shared", "queue"):
        (folder / where / "key.yml").write_text("secrets: {key: {command: [cat, key]}}")
    (folder / "shop.yml").write_text("include: [shared/key.yml, queue/key.yml]")
    with pytest.raises(InputError, match=r"secrets.key is not the same in .*: rename one"):
        play(folder)


def test_what_is_included_is_the_stacks_own(folder: Path):
    """Its networks and secrets, also those that it includes itself, are there for every service."""
    playbook = play(folder)
    assert playbook.networks["s_back"].internal is True
    for name in ("s_web", "s_db"):
        [secret] = container(playbook, name)["Secrets"]
        assert secret["SecretName"] == "s_password"
        plain: Any = to_builtins(playbook.services[name])
        [network] = plain["TaskTemplate"]["Networks"]
        assert network["Target"] == "s_back"


def test_a_second_file_may_change_what_was_included(folder: Path):
    """Files under compose are laid over each other after each has what it includes."""
    (folder / "prod.yml").write_text(
        "services: {db: {image: other, env_file: prod.env, secrets: !reset []}}"
    )
    (folder / "prod.env").write_text("HERE=prod\n")
    db = container(play(folder, "[shop.yml, prod.yml]"), "s_db")
    assert (db["Image"], db["Env"]) == ("other", ["HERE=prod", "LEVEL=low"])
    assert not db.get("Secrets")


def test_a_project_that_two_include_is_there_once(folder: Path):
    """The same file by two ways is no conflict, and neither is the same text."""
    (folder / "shop.yml").write_text(
        "include: [shared/db.yml, shared/deeper/net.yml]\nnetworks: {back: {internal: true}}\n"
    )
    playbook = play(folder)
    assert set(playbook.services) == {"s_db"}
    assert "s_back" in playbook.networks


@pytest.mark.parametrize(
    "text",
    [
        "oci://docker.io/team/db:1",
        "https://example.net/team/db.git",
        "git@example.net:team/db.git",
        "github.com/team/db",
    ],
)
def test_a_project_that_would_have_to_be_fetched_is_refused(folder: Path, text: str):
    """Compose fetches it; here the sentence says that it isn't, and what to do."""
    (folder / "shop.yml").write_text(f"include:\n  - 'shared/db.yml'\n  - '{text}'\n")
    told = f"shop.yml:3: include names {re.escape(text)}, and projects elsewhere are not fetched:"
    with pytest.raises(InputError, match=f"{told} get a copy"):
        play(folder)


def test_an_included_files_mistake_is_told_with_its_own_line(folder: Path):
    """Not with that of the file that includes it."""
    (folder / "shared" / "deeper" / "net.yml").write_text("services:\n  net:\n    imag: i\n")
    with pytest.raises(InputError, match=r"deeper/net.yml:3: unknown key 'services.net.imag'"):
        play(folder)
