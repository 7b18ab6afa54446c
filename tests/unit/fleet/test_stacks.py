"""Stacks: Compose files as they are, under the names that `docker stack deploy` gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swarmops.errors import InputError
from swarmops.fleet.compose_env import read_env_file
from swarmops.fleet.document import read_document
from swarmops.fleet.interpolation import substitute
from swarmops.fleet.inventory import read_inventory
from swarmops.fleet.playbook import Playbook, build_playbook
from swarmops.model.base import to_builtins

COMPOSE = """
version: "3.8"
x-common: &common
  deploy: {replicas: 2}
services:
  web:
    <<: *common
    image: nginx:${TAG:-1.25}
    env_file: web.env
    environment: {MODE: prod}
    networks: {front: {aliases: [www]}}
    secrets: [token]
    configs: [{source: page, target: /index.html}]
    volumes: [data:/data, /srv:/srv]
  worker:
    extends: {file: base.yml, service: base}
    command: [work]
networks:
  front: {internal: true}
volumes:
  data: {driver: local, labels: {a: b}}
secrets:
  token: {file: token}
configs:
  page: {external: true}
"""
BASE = """
services:
  base:
    image: worker:1
    command: [idle, forever]
    environment: [A=1]
    labels: {kind: worker}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a stack."""
    (tmp_path / "shop.yml").write_text(COMPOSE)
    (tmp_path / "base.yml").write_text(BASE)
    (tmp_path / "web.env").write_text("# of the web\nexport LEVEL='info'\nMODE=dev\n")
    (tmp_path / "token").write_text("sesame")
    (tmp_path / "inventory.yml").write_text("all: {hosts: {a: }}\n")
    return tmp_path


def play(folder: Path, text: str) -> Playbook:
    """Return a playbook of this text beside the stack's files."""
    path = folder / "playbook.yml"
    path.write_text(text)
    inventory = read_inventory(folder / "inventory.yml")
    return build_playbook(read_document(path, "playbook"), inventory)


def spec(playbook: Playbook, name: str) -> dict[str, Any]:
    """Return a service's spec as Docker has it."""
    plain: dict[str, Any] = to_builtins(playbook.services[name])
    return plain


def test_everything_gets_the_stacks_name(folder: Path):
    """Services, networks, volumes and files; what is external keeps its own."""
    playbook = play(folder, "stacks: {shop: {compose: shop.yml, variables: {TAG: '1.27'}}}")
    web = spec(playbook, "shop_web")
    task, container = web["TaskTemplate"], web["TaskTemplate"]["ContainerSpec"]
    assert web["Name"] == "shop_web"
    assert web["Labels"]["com.docker.stack.namespace"] == "shop"
    assert web["Labels"]["com.docker.stack.image"] == container["Image"] == "nginx:1.27"
    assert container["Labels"] == {"com.docker.stack.namespace": "shop"}
    assert container["Env"] == ["LEVEL=info", "MODE=prod"]
    assert task["Networks"] == [{"Target": "shop_front", "Aliases": ["www", "web"]}]
    assert [one["SecretName"] for one in container["Secrets"]] == ["shop_token"]
    assert container["Secrets"][0]["File"]["Name"] == "token"
    assert [one["ConfigName"] for one in container["Configs"]] == ["page"]
    assert [(one["Type"], one["Source"]) for one in container["Mounts"]] == [
        ("volume", "shop_data"),
        ("bind", "/srv"),
    ]
    assert container["Mounts"][0]["VolumeOptions"]["Labels"] == {
        "a": "b",
        "com.docker.stack.namespace": "shop",
    }
    assert [(one.kind, one.name, one.content) for one in playbook.materials] == [
        ("secret", "shop_token", b"sesame")
    ]
    assert set(playbook.networks) == {"shop_front", "shop_default"}
    assert playbook.networks["shop_front"].labels == {"com.docker.stack.namespace": "shop"}


def test_extends_and_the_default_network(folder: Path):
    """The command is replaced, variables and labels are merged; who names no network gets one."""
    worker = spec(play(folder, "stacks: {shop: shop.yml}"), "shop_worker")
    container = worker["TaskTemplate"]["ContainerSpec"]
    assert container["Args"] == ["work"]
    assert container["Env"] == ["A=1"]
    assert container["Labels"]["kind"] == "worker"
    assert worker["TaskTemplate"]["Networks"] == [{"Target": "shop_default", "Aliases": ["worker"]}]


def test_several_files_are_merged_in_order(folder: Path):
    """The later file over the earlier: a scalar replaced, a mapping merged, a list joined."""
    (folder / "prod.yml").write_text(
        "services: {web: {image: nginx:2, environment: [EXTRA=1], deploy: {replicas: 5}}}\n"
    )
    web = spec(play(folder, "stacks: {shop: {compose: [shop.yml, prod.yml]}}"), "shop_web")
    assert web["Mode"]["Replicated"]["Replicas"] == 5
    assert web["TaskTemplate"]["ContainerSpec"]["Image"] == "nginx:2"
    assert "EXTRA=1" in web["TaskTemplate"]["ContainerSpec"]["Env"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stacks: {shop: no.yml}", "no.yml: no such Compose file"),
        ("stacks: {shop: {env_file: web.env}}", "needs compose"),
        ("stacks: {shop: {compos: shop.yml}}", "did you mean 'compose'"),
        ("stacks: {shop: bad_volume.yml}", "volume 'x' is not under volumes: add it there"),
        ("stacks: {shop: bad_network.yml}", "network 'x' is not under networks: add it there"),
        ("stacks: {shop: bad_secret.yml}", "secret 'x' is not under secrets: add it there"),
        ("stacks: {shop: bad_key.yml}", "unknown key 'servces': did you mean 'services'"),
        ("stacks: {shop: needs.yml}", "needs.yml:1: the variable DB is needed: name a database"),
        ("stacks: {shop: circle.yml}", "extends goes in a circle"),
        ("stacks: {shop: nobody.yml}", "extends names no service 'nobody'"),
        ("stacks: {shop: inc_one.yml}", "inc_one.yml:1: include must be a list, not 'base.yml'"),
        ("stacks: {shop: inc_no.yml}", "no.yml, and there is no such file: correct the path"),
        ("stacks: {shop: inc_key.yml}", "unknown key 'include.0.file': did you mean"),
        ("stacks: {shop: inc_path.yml}", "include.0 needs path: that of a Compose file"),
        ("stacks: {shop: inc_empty.yml}", "must be the path of a Compose file, or a list of them"),
        ("stacks: {shop: inc_env.yml}", "no.env can't be read (No such file or directory)"),
        ("stacks: {shop: inc_dir.yml}", "include.0.project_directory: there is no folder"),
        ("stacks: {shop: inc_self.yml}", "inc_self.yml:1: include goes in a circle, back to"),
        ("stacks: {shop: inc_there.yml}", "inc_back.yml:1: include goes in a circle, back to"),
        ("stacks: {shop: inc_bad.yml}", "bad_key.yml:1: unknown key 'servces'"),
        (
            "stacks: {shop: inc_other.yml}",
            "not the same in {0}/inc_other.yml:4 and in {0}/base.yml:3: rename one, or change it",
        ),
        (
            "stacks: {shop: shop.yml}\nservices: {shop_web: {image: i}}",
            "stack 'shop' and services both have 'shop_web'",
        ),
    ],
)
def test_mistakes_are_named_with_the_cure(folder: Path, text: str, words: str):
    """One sentence with the file and what to do."""
    files = {
        "bad_volume": "services: {a: {image: i, volumes: ['x:/x']}}",
        "bad_network": "services: {a: {image: i, networks: [x]}}",
        "bad_secret": "services: {a: {image: i, secrets: [x]}}",
        "bad_key": "servces: {a: {image: i}}",
        "needs": "services: {a: {image: '${DB:?name a database}'}}",
        "circle": "services: {a: {extends: b}, b: {extends: a}}",
        "nobody": "services: {a: {extends: nobody}}",
        "inc_one": "include: base.yml",
        "inc_no": "include: [sub/no.yml]",
        "inc_key": "include: [{file: base.yml}]",
        "inc_path": "include: [{env_file: web.env}]",
        "inc_empty": "include: [{path: []}]",
        "inc_env": "include: [{path: base.yml, env_file: no.env}]",
        "inc_dir": "include: [{path: base.yml, project_directory: nowhere}]",
        "inc_self": "include: [./inc_self.yml]",
        "inc_there": "include: [inc_back.yml]",
        "inc_back": "include: [{path: [base.yml, inc_there.yml]}]",
        "inc_bad": "include: [bad_key.yml]",
        "inc_other": "include:\n- base.yml\nservices:\n  base: {image: other}",
    }
    for name, content in files.items():
        (folder / f"{name}.yml").write_text(content)
    with pytest.raises(InputError) as caught:
        play(folder, text)
    assert words.format(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$A-${A}", "1-1"),
        ("${NO}", ""),
        ("${NO:-x}", "x"),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY-x}", ""),
        ("${NO-${A}}", "1"),
        ("${A:+set}", "set"),
        ("${NO+set}", ""),
        ("$$A", "$A"),
        ("cost: 5$$", "cost: 5$"),
    ],
)
def test_variables_are_composes(text: str, result: str):
    """Defaults, alternatives, nesting and escaped dollars."""
    assert substitute(text, {"A": "1", "EMPTY": ""}) == result


@pytest.mark.parametrize("text", ["${A", "$", "${}", "${A!x}", "${NO:?}"])
def test_bad_variables_are_refused(text: str):
    """Nothing is guessed."""
    with pytest.raises(ValueError, match=r"\w"):
        substitute(text, {"A": "1"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not a name", "'not a name' is not NAME=value"),
        ("A='x\n\n", "the value of A begins with ' and never ends: close it"),
        ('A="x" y', "'y' follows the closing \" of A: only a comment may"),
        ("A=${", "'\\$.*' has a "),
    ],
)
def test_an_env_file_with_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, said: str):
    """Its own path and line, not the playbook's."""
    path = tmp_path / "x.env"
    path.write_text(f"A=1\nB = '2\n'\n{text}\n")
    with pytest.raises(InputError, match=rf"x.env:4: {said}"):
        read_env_file(path, "playbook.yml:1", {})


def test_a_byte_order_mark_belongs_to_no_name(tmp_path: Path):
    """Some editors begin every file with one."""
    path = tmp_path / "x.env"
    path.write_bytes(b"\xef\xbb\xbfA=1\r\nB='2'\r\n")
    assert read_env_file(path, "", {}) == {"A": "1", "B": "2"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=plain # comment", "plain"),
        ('A="two\\nlines"', "two\nlines"),
        ("A=$SHELL_HAS-${ABOVE}", "1-up"),
        ('A="${NO:-x} \\$Y"', "x $Y"),
        ("A='$SHELL_HAS'", "$SHELL_HAS"),
        ("SHELL_HAS=file\nA=$SHELL_HAS", "1"),
        ("A", "passed on"),
        ('A="abc" # prod', "abc"),
        ("A='abc'#prod", "abc"),
        ('A="a # b"', "a # b"),
        ('A="one\ntwo # no comment\n" # one', "one\ntwo # no comment\n"),
        ('A=\'{\n  "k": "$v"\n}\'\nB=1', '{\n  "k": "$v"\n}'),
        (r"A='it\'s'", "it's"),
        (r'A="say \"hi\"\t\\n"', 'say "hi"\t\\n'),
        ("A: yaml", "yaml"),
        ("export A : 'x y'", "x y"),
        ("A=", ""),
        ("A=\nB=1", ""),
        ("A=it's", "it's"),
        ("A=#x", "#x"),
    ],
)
def test_an_env_file_is_read_as_compose_reads_it(tmp_path: Path, text: str, value: str):
    """Quotes, comments, variables (the shell's are stronger), and names without a value."""
    path = tmp_path / "x.env"
    path.write_text(f"ABOVE=up\nNOT_SET_ANYWHERE\n{text}\n")
    found = read_env_file(path, "", {"SHELL_HAS": "1", "A": "passed on"})
    assert found["A"] == value
    assert "NOT_SET_ANYWHERE" not in found


def environment(playbook: Playbook, name: str) -> list[str]:
    """Return the variables of a service's tasks."""
    found: list[str] = spec(playbook, name)["TaskTemplate"]["ContainerSpec"]["Env"]
    return found


def test_variables_come_from_the_playbook_the_shell_and_then_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """As in Compose the shell is stronger than a file; without env_file it is `.env`."""
    monkeypatch.setenv("BOTH", "shell")
    monkeypatch.setenv("THREE", "shell")
    (folder / "some.env").write_text("BOTH=file\nTHREE=file\nONE=file\n")
    (folder / ".env").write_text("ONE=dotenv\n")
    (folder / "v.yml").write_text(
        "services: {a: {image: i, environment: {R: '$ONE $BOTH $THREE'}}}"
    )
    said = "{compose: v.yml, env_file: some.env, variables: {THREE: playbook}}"
    assert environment(play(folder, f"stacks: {{s: {said}}}"), "s_a") == ["R=file shell playbook"]
    assert environment(play(folder, "stacks: {s: v.yml}"), "s_a") == ["R=dotenv shell shell"]


def test_a_variable_without_a_value_has_the_shells(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """And one that the shell has not is left out, with a warning."""
    monkeypatch.setenv("TOKEN", "sesame")
    (folder / "v.yml").write_text(
        "services:\n  a: {image: i, environment: [TOKEN, NOT_THERE, A=1]}\n"
        "  b: {image: i, environment: {TOKEN: , A: 1}}\n"
    )
    playbook = play(folder, "stacks: {s: v.yml}")
    assert environment(playbook, "s_a") == environment(playbook, "s_b") == ["A=1", "TOKEN=sesame"]
    [warning] = playbook.warnings
    assert "v.yml:2: services.a.environment: NOT_THERE is not set here" in warning


def test_environment_is_stronger_than_any_files(folder: Path):
    """Also than the env_file of a file that is laid over it, whose folder is the first one's."""
    (folder / "more").mkdir()
    (folder / "over.env").write_text("MODE=over\nMORE=1\n")
    (folder / "more" / "over.yml").write_text("services: {web: {env_file: [over.env]}}")
    playbook = play(folder, "stacks: {shop: {compose: [shop.yml, more/over.yml]}}")
    assert environment(playbook, "shop_web") == ["LEVEL=info", "MODE=prod", "MORE=1"]


def test_another_files_service_has_its_own_folder_and_the_same_variables(folder: Path):
    """What `extends` names is read like any Compose file."""
    (folder / "sub").mkdir()
    (folder / "sub" / "one.env").write_text("HERE=sub\n")
    (folder / "sub" / "base.yml").write_text(
        "services: {base: {image: 'i:${TAG}', env_file: one.env, ports: !reset []}}"
    )
    (folder / "v.yml").write_text(
        "services: {a: {extends: {file: sub/base.yml, service: base}, environment: {A: 1}}}"
    )
    playbook = play(folder, "stacks: {s: {compose: v.yml, variables: {TAG: '7'}}}")
    assert environment(playbook, "s_a") == ["A=1", "HERE=sub"]
    assert spec(playbook, "s_a")["Labels"]["com.docker.stack.image"] == "i:7"


@pytest.mark.parametrize("said", ["stacks: {s: v.yml}", "services: {a: {image: host}}"])
def test_docker_has_no_processes_of_hosts(folder: Path, said: str):
    """Neither among the playbook's own services nor in a stack."""
    (folder / "v.yml").write_text("services: {a: {image: host, command: [sleep]}}")
    with pytest.raises(InputError, match="has image 'host', a process of the host"):
        play(folder, f"swarm: {{backend: docker}}\n{said}")


@pytest.mark.parametrize("kind", ["secret", "config"])
def test_content_may_be_a_variable_of_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
):
    """In a Compose file and in the playbook itself, byte for byte."""
    monkeypatch.setenv("KEPT", " sesame\n")
    (folder / "v.yml").write_text(f"services: {{}}\n{kind}s: {{a: {{environment: KEPT}}}}")
    playbook = play(folder, f"stacks: {{s: v.yml}}\n{kind}s: {{b: {{environment: KEPT}}}}")
    assert sorted((one.kind, one.name, one.content) for one in playbook.materials) == [
        (kind, "b", b" sesame\n"),
        (kind, "s_a", b" sesame\n"),
    ]
