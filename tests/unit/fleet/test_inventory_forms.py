"""Inventories in Ansible's other forms, and values from vaults, the environment and files.

What is expected was checked against ansible-core 2.19; the encrypted texts are its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmops.errors import InputError
from swarmops.fleet import vault
from swarmops.fleet.inventory import Inventory, read_inventory
from swarmops.fleet.inventory_ini import parse_ini
from swarmops.fleet.inventory_text import (
    HIDDEN,
    inventory_graph,
    inventory_list,
    inventory_rows,
)
from swarmops.fleet.vault import Vault, VaultError, decrypt, label_of

PASSWORD = b"hunter2"
VAULTED = """$ANSIBLE_VAULT;1.1;AES256
39363065336531303462663330346365373034373939623032663139343365303033653539353433
3634343634353763353835303436623631336232666332640a366464633337366534313231353865
65626261386537653033623937616130643330656263623131356164343238626339633836623138
6565316434386337630a343730626633623736363763393931383165666130366432613533323537
3562
"""
INI = """# a comment
bare1 ansible_host=192.0.2.1 flag=yes num=3 list="[1, 2]" quoted="a b"
[web]
web[01:03].x:2222 weight=1   # trailing
web04.x x='# no comment'
[db]
db1
bare1
; another comment
[prod:children]
web
db
[prod:vars]
tier = prod
level=1.5
on=True
note = some text # not a comment
[web:vars]
tier=web
"""
SCRIPT = """#!/bin/sh
case "$1" in
--list) echo '{"cloud": {"hosts": ["c1", "c2"], "vars": {"v": 1}}, "plain": ["c3"],
  "up": {"children": ["cloud"]}, "_meta": {"hostvars": {"c1": {"ansible_host": "192.0.2.9"}}}}';;
esac
"""
OLD_SCRIPT = """#!/bin/sh
[ "$1" = --list ] && echo '{"g": ["h1", "h2"]}' && exit
echo "{\\"ansible_host\\": \\"$2.example\\"}"
"""


@pytest.fixture(autouse=True)
def no_vault(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin every test without a vault password, as a new run does."""
    monkeypatch.delenv(vault.PASSWORD_FILE, raising=False)
    token = vault.current.set(Vault(environ={}))
    yield
    vault.current.reset(token)


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write files; one that begins with #! may be executed."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if text.startswith("#!"):
            path.chmod(0o755)
    return folder


def values(inventory: Inventory, name: str) -> dict[str, Any]:
    """Return the inventory's variable of that name, by host, where it is set."""
    return {host.name: host.vars[name] for host in inventory.hosts.values() if name in host.vars}


@pytest.mark.parametrize("name", ["hosts", "hosts.ini", "prod"])
def test_ini(tmp_path: Path, name: str) -> None:
    """Ranges, ports, quotes, comments, literals, children and vars are as Ansible reads them."""
    read = read_inventory(write(tmp_path, {name: INI}) / name)
    assert list(read.hosts) == ["bare1", "web01.x", "web02.x", "web03.x", "web04.x", "db1"]
    bare = read.hosts["bare1"].vars
    assert (bare["flag"], bare["num"], bare["list"], bare["quoted"]) == ("yes", 3, [1, 2], "a b")
    assert read.hosts["bare1"].address == "192.0.2.1"
    assert read.hosts["web02.x"].port == 2222
    assert read.hosts["web04.x"].vars["x"] == "# no comment"
    assert values(read, "tier") == {
        "bare1": "prod", "db1": "prod",
        **dict.fromkeys(("web01.x", "web02.x", "web03.x", "web04.x"), "web"),
    }  # fmt: skip
    assert read.hosts["db1"].vars["level"] == 1.5
    assert read.hosts["db1"].vars["on"] is True
    assert read.hosts["db1"].vars["note"] == "some text # not a comment"
    assert set(read.groups["prod"]) == set(read.hosts)
    assert read.hosts["bare1"].groups == ("prod", "db")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[web", "1: '[web' is no section"),
        ("[web:sons]", "is no section"),
        ("[a:vars]\nnothing", "2: 'nothing' sets no variable"),
        ("[a:children]\nb x=1", "2: a child group stands alone"),
        ("a b", "1: 'b' is no variable"),
        ("a x='b", "1: no closing quotation"),
        ("a swarmops_sockt=/x", "did you mean 'swarmops_socket'?"),
        ("[web]\na\n[wbe:vars]\nx=1", "3: there is no group 'wbe': write a section [wbe], or"),
        ("[web]\na\n[up:children]\nweb\ndb", "5: there is no group 'db': write a section [db]"),
    ],
)
def test_bad_ini(tmp_path: Path, text: str, reason: str) -> None:
    """What is wrong is named with its line."""
    path = write(tmp_path, {"hosts": text}) / "hosts"
    with pytest.raises(InputError) as caught:
        read_inventory(path)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"{path}:")


def test_ini_groups_of_another_file(tmp_path: Path) -> None:
    """A folder's files define groups for each other, an empty section defines one too."""
    files = {
        "a": "[up:children]\nweb\ncloud\n[cloud:vars]\nx=1\n",
        "b": "[web]\n",
        "c.yml": "all: {children: {outer: {children: {cloud: {hosts: {c1: }}}}}}",
    }
    read = read_inventory(write(tmp_path / "folder", files))
    assert read.groups["up"] == ("c1",)
    assert read.hosts["c1"].vars["x"] == 1


def test_ini_template(tmp_path: Path) -> None:
    """A template is no literal, whatever is between its braces."""
    text = "[all:vars]\nansible_port={{ 2222 }}\n[web]\nh1\n"
    assert read_inventory(write(tmp_path, {"hosts": text}) / "hosts").hosts["h1"].port == 2222


def test_empty_ini() -> None:
    """Comments alone are no hosts."""
    assert parse_ini("# nothing\n\n", "x").value == {}


def test_script(tmp_path: Path) -> None:
    """A program's --list is the inventory, with _meta or with one --host each."""
    folder = write(tmp_path, {"cloud": SCRIPT, "old.py": OLD_SCRIPT})
    read = read_inventory(folder / "cloud")
    assert {name: host.address for name, host in read.hosts.items()} == {
        "c1": "192.0.2.9", "c2": "c2", "c3": "c3",
    }  # fmt: skip
    assert values(read, "v") == {"c1": 1, "c2": 1}
    assert read.groups["up"] == ("c1", "c2")
    old = read_inventory(folder / "old.py")
    assert [host.address for host in old.hosts.values()] == ["h1.example", "h2.example"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("#!/bin/sh\necho no", "printed no JSON"),
        ("#!/bin/sh\necho '[]'", "no JSON object of groups"),
        ("#!/bin/sh\necho oh >&2; exit 3", "exited 3: oh"),
        ("#!/bin/sh\necho '{\"g\": 5}'", "neither an object nor a list"),
        ('#!/bin/sh\necho \'{"g": {"hosts": "a"}}\'', "hosts of group 'g' must be a list"),
        ('#!/bin/sh\necho \'{"g": {"vars": []}, "h": {"vars": [1]}}\'', "must be an object"),
        ('#!/bin/sh\necho \'{"g": ["a"], "_meta": {"hostvars": {"a": 5}}}\'', "no JSON object"),
        ("#!/no/such/thing\n", "can't be run"),
    ],
)
def test_bad_script(tmp_path: Path, script: str, reason: str) -> None:
    """However a program fails is one sentence that names it."""
    path = write(tmp_path, {"inv": script}) / "inv"
    with pytest.raises(InputError, match=reason) as caught:
        read_inventory(path)
    assert str(path) in str(caught.value)


def test_folder(tmp_path: Path) -> None:
    """All files of a folder are one inventory; vars beside it win in Ansible's order."""
    read = read_inventory(
        write(
            tmp_path,
            {
                "10-hosts": INI,
                "20.yml": "all: {vars: {domain: x, swarmops_playbook: p.yml}, children: {db: {"
                "hosts: {db2: {ansible_port: 5}}, vars: {k: file, tier: db}}}}",
                "30-script": SCRIPT,
                "README.md": "not an inventory",
                "old.bak": "not one",
                "group_vars/all.yml": "k: groupvars-all\ndomain: gv\n",
                "group_vars/db": "k: groupvars-db\n",
                "group_vars/web/b.yml": "k: second\n",
                "group_vars/web/a.yml": "k: first\nonly: a\n",
                "host_vars/web02.x": "weight: 9\n",
                "host_vars/db1.yml": "k: own\n",
            },
        )
    )
    assert len(read.hosts) == 10
    assert read.playbooks == (str(tmp_path / "p.yml"),)
    assert read.warnings == ()
    kinds = values(read, "k")
    assert (kinds["db1"], kinds["db2"], kinds["bare1"]) == ("own", "groupvars-db", "groupvars-db")
    assert (kinds["web01.x"], kinds["c1"]) == ("second", "groupvars-all")
    assert set(values(read, "domain").values()) == {"gv"}
    assert values(read, "weight") == {"web01.x": 1, "web02.x": 9, "web03.x": 1}
    assert values(read, "tier")["db1"] == "db"
    assert values(read, "only")["web01.x"] == "a"


def test_vars_of_nobody(tmp_path: Path) -> None:
    """A file of variables that is nobody's is warned of; a misspelt variable in one is an error."""
    folder = write(tmp_path, {"i.yml": "all: {hosts: {a: }}", "group_vars/wbe.yml": "x: 1"})
    (warning,) = read_inventory(folder / "i.yml").warnings
    assert "no group 'wbe'" in warning
    write(tmp_path, {"host_vars/a.yml": "swarmops_sockt: /x"})
    with pytest.raises(InputError, match=r"host_vars/a.yml:1: unknown variable 'swarmops_sockt'"):
        read_inventory(folder / "i.yml")


def test_empty_folder(tmp_path: Path) -> None:
    """A folder without an inventory is named."""
    with pytest.raises(InputError, match="the folder holds no inventory"):
        read_inventory(tmp_path)


def test_decrypt() -> None:
    """What ansible-vault wrote is read; a wrong password and a damaged text are told."""
    assert decrypt(VAULTED, PASSWORD).decode() == "s3cret value ü"
    with pytest.raises(VaultError, match="password is wrong"):
        decrypt(VAULTED, b"other")
    with pytest.raises(VaultError, match="damaged"):
        decrypt(VAULTED.replace("3562", "356"), PASSWORD)
    with pytest.raises(VaultError, match="of a kind"):
        decrypt(VAULTED.replace("AES256", "AES"), PASSWORD)
    assert label_of(VAULTED) == "default"
    assert label_of("$ANSIBLE_VAULT;1.2;AES256;prod\n00") == "prod"


def vaulted_files() -> dict[str, str]:
    """An inventory with one encrypted value, and a file of variables that is encrypted whole."""
    value = "\n".join(f"          {line}" for line in VAULTED.splitlines())
    return {
        "i.yml": f"all:\n  hosts:\n    a:\n      ansible_password: !vault |\n{value}\n",
        "pw": "hunter2\n",
        "pw-program": "#!/bin/sh\necho hunter2\n",
        "pw-client": '#!/bin/sh\n[ "$*" = "--vault-id dev" ] && echo hunter2\n',
        "wrong": "nope",
    }


SOURCES = ["pw", "pw-program", "dev@pw-client", "default@pw", "environment", "prompt"]


@pytest.mark.parametrize("source", SOURCES)
def test_vault(tmp_path: Path, source: str) -> None:
    """A password comes from a file, a program, the environment or a person; it is asked once."""
    write(tmp_path, vaulted_files())
    asked = []

    def prompt(text: str) -> str:
        asked.append(text)
        return "hunter2"

    label, _, name = source.rpartition("@")
    prefix = f"{label}@" if label else ""
    chosen = {
        "environment": Vault(environ={vault.PASSWORD_FILE: str(tmp_path / "pw")}),
        "prompt": Vault(environ={}, prompt=prompt),
    }.get(source, Vault((f"{prefix}{tmp_path / name}",), environ={}))
    vault.current.set(chosen)
    for _ in range(2):
        read = read_inventory(tmp_path / "i.yml")
        assert read.hosts["a"].password == "s3cret value ü"
    assert asked == (["Vault password: "] if source == "prompt" else [])
    assert "s3cret" not in json.dumps(inventory_list(read))


def test_an_inventory_that_is_encrypted_whole(tmp_path: Path) -> None:
    """Also one without a name of YAML's: what its vault hides is read, not its letters."""
    write(tmp_path, {"hosts": VAULTED, "pw": "hunter2"})
    vault.current.set(Vault((str(tmp_path / "pw"),), environ={}))
    with pytest.raises(InputError, match="hosts:1: 'value' is no variable: write name=value"):
        read_inventory(tmp_path / "hosts")
    (host,) = parse_ini("a x='b c'", "hosts", secret=True).value["ungrouped"]["hosts"].values()
    assert isinstance(host["x"], vault.Secret)


def test_vaults_of_two_passwords(tmp_path: Path) -> None:
    """Of several passwords the one with the text's label is tried first, then the others."""
    write(tmp_path, vaulted_files())
    files = (f"prod@{tmp_path / 'wrong'}", f"dev@{tmp_path / 'pw'}")
    vault.current.set(Vault(files, environ={}))
    assert read_inventory(tmp_path / "i.yml").hosts["a"].password == "s3cret value ü"


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (None, "give --vault-password-file"),
        ("wrong", "i.yml:4: the vault's password is wrong"),
        ("absent", "can't be read: No such file"),
        ("fails", "exited 1"),
    ],
)
def test_no_vault_password(tmp_path: Path, file: str | None, reason: str) -> None:
    """Without the right password the place of what can't be read is named."""
    write(tmp_path, {**vaulted_files(), "fails": "#!/bin/sh\nexit 1\n"})
    if file is not None:
        vault.current.set(Vault((str(tmp_path / file),), environ={}))
    with pytest.raises(InputError, match=reason):
        read_inventory(tmp_path / "i.yml")


def test_lookups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment and files beside the inventory can be values, as in Ansible."""
    monkeypatch.setenv("CITY", "Ulm")
    monkeypatch.delenv("NOWHERE", raising=False)
    text = """
all:
  vars:
    ansible_user: "{{ lookup('env', 'CITY') }}"
    ansible_host: "{{ lookup('ansible.builtin.env', 'NOWHERE', default='192.0.2.3') }}"
    ansible_password: "{{ lookup('file', 'secret.txt') }}"
  hosts: {a: }
"""
    read = read_inventory(write(tmp_path, {"i.yml": text, "secret.txt": "abc\n"}) / "i.yml")
    host = read.hosts["a"]
    assert (host.user, host.address, host.password) == ("Ulm", "192.0.2.3", "abc")


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("lookup('file', 'absent')", "No such file"),
        ("lookup('pipe', 'rm -rf /')", "lookup 'pipe' is not known here"),
        ("lookup('file', 'binary')", "no UTF-8 text"),
    ],
)
def test_bad_lookups(tmp_path: Path, call: str, reason: str) -> None:
    """What can't be looked up is an error with its place."""
    (tmp_path / "binary").write_bytes(b"\xff")
    path = tmp_path / "i.yml"
    path.write_text(f'all: {{hosts: {{a: {{ansible_user: "{{{{ {call} }}}}"}}}}}}')
    with pytest.raises(InputError, match=reason):
        read_inventory(path)


def test_shown(tmp_path: Path) -> None:
    """Rows, the tree and Ansible's JSON tell what was understood, and no password."""
    files = {
        "i.yml": "all: {vars: {ansible_become: true, ansible_become_password: abc}, hosts: {a: },"
        " children: {managers: {hosts: {m1: {ansible_port: 5, ansible_user: ops}}}}}"
    }
    read = read_inventory(write(tmp_path, files) / "i.yml")
    rows = {row.host: row for row in inventory_rows(read)}
    assert (rows["m1"].address, rows["m1"].may_manage, rows["m1"].user) == ("m1:5", "yes", "ops")
    assert (rows["a"].may_manage, rows["a"].connection) == ("no", "ssh (become)")
    assert inventory_graph(read).splitlines() == [
        "@all:", "  |--@managers:", "  |  |--m1", "  |--a",
    ]  # fmt: skip
    listed = inventory_list(read)
    assert listed["_meta"]["hostvars"]["a"]["ansible_become_password"] == HIDDEN
    assert listed["managers"] == {"hosts": ["m1"]}
