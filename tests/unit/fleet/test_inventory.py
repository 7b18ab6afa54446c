"""The inventory is Ansible's: the same hosts, groups and variables come out of the same file."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarmops.errors import InputError
from swarmops.fleet.document import parse_document
from swarmops.fleet.groups import read_groups
from swarmops.fleet.host import OUR_VARS, Host
from swarmops.fleet.inventory import Inventory, build_inventory, playbook_scope, read_inventory


def load(text: str, path: str = "/lab/inv.yml") -> Inventory:
    """Return the inventory that a text makes."""
    return build_inventory(path, read_groups(parse_document(text, path), OUR_VARS))


FAMILY = """
all:
  vars: {colour: all, swarmops_playbook: ../playbooks/p.yml}
  hosts:
    lonely:
  children:
    europe:
      vars: {colour: parent}
      children:
        paris: {vars: {colour: child}, hosts: {p1: , p2: {colour: host}}}
        zurich: {vars: {ansible_group_priority: 1}, hosts: {p1: , z1: }}
"""


@pytest.mark.parametrize(
    ("host", "groups", "colour"),
    [
        ("lonely", (), "all"),
        ("p1", ("europe", "paris", "zurich"), "child"),
        ("p2", ("europe", "paris"), "host"),
        ("z1", ("europe", "zurich"), "parent"),
    ],
)
def test_precedence(host: str, groups: tuple[str, ...], colour: str):
    """All < parent group < child group < host."""
    inventory = load(FAMILY)
    assert inventory.hosts[host].groups == groups
    assert inventory.hosts[host].vars["colour"] == colour


def test_groups_hold_the_hosts_of_their_children():
    """A parent group has its children's hosts, in the file's order, and 'all' has every one."""
    inventory = load(FAMILY)
    assert inventory.groups["europe"] == ("p1", "p2", "z1")
    assert inventory.groups["all"] == ("lonely", "p1", "p2", "z1")


def test_priority_decides_between_groups_of_one_depth():
    """ansible_group_priority beats the name among groups of one depth, and is no variable."""
    text = """
all:
  children:
    a: {vars: {x: a, ansible_group_priority: 10}, hosts: {h: }}
    b: {vars: {x: b}, hosts: {h: }}
"""
    assert load(text).hosts["h"].vars == {"x": "a"}


def test_what_ansible_says_about_a_host():
    """Ansible's connection variables reach the host's fields, with the defaults left open."""
    host = load("""
all:
  hosts:
    a:
      ansible_host: 192.0.2.1
      ansible_port: "2222"
      ansible_user: root
      ansible_ssh_private_key_file: ~/.ssh/k
      ansible_become: yes
      ansible_become_password: "{{ secret }}"
      ansible_python_interpreter: /usr/bin/python3.11
      ansible_ssh_common_args: -o Foo=bar
      secret: s3cret
""").hosts["a"]
    assert (host.address, host.port, host.user) == ("192.0.2.1", 2222, "root")
    assert (host.private_key_files, host.become, host.become_password) == (
        ("~/.ssh/k",),
        True,
        "s3cret",
    )
    assert (host.python, host.connection) == ("/usr/bin/python3.11", "ssh")
    assert host.vars["ansible_ssh_common_args"] == "-o Foo=bar"
    assert "s3cret" not in repr(host)


def test_ansibles_other_spellings():
    """Whichever of its names somebody uses, and its way to name a program of the PATH."""
    host = load("""
all:
  hosts:
    a: {ansible_ssh_password: one, ansible_sudo_pass: two,
        ansible_python_interpreter: /usr/bin/env python3}
""").hosts["a"]
    assert (host.password, host.become_password, host.python) == ("one", "two", "python3")


def test_all_of_ansibles_options_of_ssh_count():
    """What stands first is taken, as ssh does, of the three in Ansible's order."""
    host = load("""
all:
  vars: {ansible_ssh_extra_args: -l c -p 3, ansible_ssh_common_args: -l b -J b2}
  hosts:
    h1: {ansible_ssh_args: -l a}
""").hosts["h1"]
    assert (host.ssh_args.user, host.ssh_args.jump, host.ssh_args.port) == ("a", "b2", 3)


def test_options_of_ssh_without_effect_are_named_once():
    """One sentence for a hundred hosts, and none of what is done anyway or counts."""
    inventory = load("""
all:
  vars:
    ansible_ssh_common_args: -o Ciphers=aes128-ctr -o ControlMaster=auto -C -J b1
  hosts:
    h[01:99]:
    here: {ansible_connection: local, ansible_ssh_extra_args: -A}
""")
    (warning,) = inventory.warnings
    assert "-o Ciphers, -C in ansible_ssh_common_args" in warning


def test_defaults_of_a_bare_host():
    """A host without variables is reached by its name over ssh, with Docker's port."""
    assert load("all: {hosts: {n1.example: }}").hosts["n1.example"] == Host(
        name="n1.example", address="n1.example"
    )


def test_ours_are_rendered_for_each_host():
    """Templates see inventory_hostname and inventory_dir, and variables see each other."""
    inventory = load("""
all:
  vars:
    base: "{{ inventory_dir | dirname }}/.demo/{{ inventory_hostname }}"
    swarmops_data_dir: "{{ base }}/data"
    swarmops_socket: "{{ base }}/../{{ inventory_hostname }}/s.sock"
    swarmops_listen_addr: "{{ ip }}"
    ansible_connection: local
  hosts:
    node[1:2]:
  children:
    one: {hosts: {node1: {ip: 127.0.0.11}}}
    two: {hosts: {node2: {ip: "127.0.0.12:2400"}}}
""")
    first, second = inventory.hosts.values()
    assert first.data_dir == "/.demo/node1/data"
    assert second.socket == "/.demo/node2/s.sock"
    assert (first.listen_addr, second.listen_addr) == ("127.0.0.11:2377", "127.0.0.12:2400")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("h[1:3]", ["h1", "h2", "h3"]),
        ("h[01:10:4].x", ["h01.x", "h05.x", "h09.x"]),
        ("h[:2]", ["h0", "h1", "h2"]),
        ("[a:c]-[1:2]", ["a-1", "a-2", "b-1", "b-2", "c-1", "c-2"]),
        ("h[9:11]", ["h9", "h10", "h11"]),
    ],
)
def test_ranges(pattern: str, names: list[str]):
    """A range stands for all its names, both ends included."""
    assert list(load(f"all: {{hosts: {{'{pattern}': }}}}").hosts) == names


def test_port_in_the_name():
    """``host:port`` as a key sets the port, as in Ansible."""
    hosts = load("all: {hosts: {'h[1:2]:2022': }}").hosts
    assert [(h.name, h.port) for h in hosts.values()] == [("h1", 2022), ("h2", 2022)]


def test_unused_templates_are_not_rendered():
    """Variables that only Ansible needs may use what only Ansible has."""
    load("all: {vars: {x: \"{{ lookup('file', 'y') }}\"}, hosts: {a: }}")


@pytest.mark.parametrize(
    ("text", "managers"),
    [
        ("all: {hosts: {a: , b: }}", ["a", "b"]),
        ("{all: {hosts: {a: , b: , c: }}, managers: {hosts: {c: , a: }}}", ["c", "a"]),
        ("{all: {hosts: {a: , b: }}, workers: {hosts: {a: }}}", ["b"]),
    ],
)
def test_who_may_be_manager(text: str, managers: list[str]):
    """Group managers names all that may, the first before the others; else all but workers may."""
    assert load(text).manager_order() == managers


def test_members_are_in_the_groups_own_order():
    """As ansible-inventory lists them: a group's own hosts, its children's, theirs; each once."""
    text = """
    all: {hosts: {c1: , b1: , a1: , z: }}
    web: {hosts: {a1: , c1: }, children: {old: , new: }}
    old: {children: {older: }, hosts: {x2: , c1: }}
    new: {hosts: {x1: }}
    older: {hosts: {x0: , a1: }}
    """
    groups = load(text).groups
    assert groups["web"] == ("a1", "c1", "x2", "x1", "x0")
    assert groups["all"] == ("c1", "b1", "a1", "z", "x2", "x1", "x0")


def test_playbook_is_relative_to_the_inventory():
    """swarmops_playbook is found from the inventory's folder."""
    assert load(FAMILY).playbooks == ("/playbooks/p.yml",)


def test_several_playbooks_are_relative_to_the_inventory():
    """Each of a list, templates in it too; their order is kept, for the later is laid over."""
    named = '["{{ site }}.yml", ../base.yml, /etc/last]'
    read = load(f"all: {{vars: {{site: b, swarmops_playbook: {named}}}, hosts: {{a: }}}}")
    assert read.playbooks == ("/lab/b.yml", "/base.yml", "/etc/last")


def test_playbooks_see_the_inventory():
    """A playbook's scope holds all's variables, the groups and every host's variables."""
    scope = playbook_scope(load(FAMILY))
    text = "{{ colour }} {{ groups.paris | length }} {{ hostvars.p2.colour }}"
    assert scope.render(text, "p.yml:1", "x") == "all 2 host"


def test_hosts_see_each_others_variables():
    """As hostvars, also of hosts that come later; a playbook sees the same."""
    inventory = load(
        "all:\n  hosts:\n"
        "    a: {ansible_ssh_common_args: '-J {{ hostvars.b.gate }}'}\n"
        "    b: {gate: \"{{ hostvars['c'].ansible_host }}:{{ port }}\"}\n"
        "    c: {ansible_host: 192.0.2.7}\n"
        "  vars: {port: 2222}\n"
    )
    assert inventory.hosts["a"].ssh_args.jump == "192.0.2.7:2222"
    scope = playbook_scope(inventory)
    assert scope.render("{{ hostvars.b.gate }}", "p.yml:1", "x") == "192.0.2.7:2222"


def test_merges_of_merges_are_bounded():
    """A small file whose merge keys multiply is refused, also where every key is the same."""
    levels = ["all: {vars: {m0: &m0 {x: 1}"]
    levels += [f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    with pytest.raises(InputError, match="more than 200000 values"):
        load(",\n".join(levels) + "}, hosts: {a: }}")


def test_sudo_to_root_is_what_become_means():
    """Ansible's own words for it are understood; where nothing is become the rest is its affair."""
    usual = "ansible_become_user: root, ansible_become_method: sudo, ansible_become_flags: '-H -S'"
    assert (
        load(f"all: {{vars: {{ansible_become: true, {usual}}}, hosts: {{a: }}}}").hosts["a"].become
    )
    load("all: {vars: {ansible_become_user: app, ansible_become_method: su}, hosts: {a: }}")


BAD = [
    *(
        (f"all:\n  vars:\n    ansible_become: yes\n    {text}\n  hosts: {{a: }}", f"4: {said}")
        for text, said in (
            ("ansible_become_method: su", "ansible_become_method is su, and swarmops knows sudo"),
            ("ansible_become_user: app", "ansible_become_user is app, and a node is run by root"),
            ("ansible_become_exe: /x/sudo", "ansible_become_exe is /x/sudo, and swarmops takes"),
            ("ansible_become_flags: -i", "ansible_become_flags are -i, and swarmops gives"),
        )
    ),
    (
        "all: {vars: {swarmops_playbok: x}, hosts: {a: }}",
        "1: unknown variable 'swarmops_playbok': did you mean 'swarmops_playbook'?",
    ),
    (
        "all:\n  hosts: {a: {swarmops_sock: x}}",
        "2: unknown variable 'swarmops_sock': did you mean 'swarmops_socket'?",
    ),
    (
        "all:\n  hosts: {a: {swarmops_manger: 3}}",
        "2: unknown variable 'swarmops_manger': how many managers there are is the playbook's (swa",
    ),
    (
        "all:\n  hosts: {a: {swarmops_role: worker}}",
        "2: unknown variable 'swarmops_role': it is the playbook's (nodes.HOST.role)",
    ),
    (
        "all:\n  hosts: {a: {swarmops_x: 1}}",
        "2: unknown variable 'swarmops_x': known are swarmops_advertise_addr, swarmops_backend,",
    ),
    (
        "all:\n  hosts:\n    a: {ansible_host: '{{ hostvars.b.x }}'}\n    b: {x: '{{ x }}'}",
        "4: 'x' is defined by itself (x → x)",
    ),
    (
        "all:\n  hosts: {a: {ansible_host: '{{ hostvars.b.x }}'}, b: }",
        "has no attribute 'x'",
    ),
    ("all:\n  hosts:\n    a:\n    a:", "4: 'a' is here twice (first in line 3): keep one of them"),
    (
        "all:\n  hosts:\n    h[1:3]:\n    h2:",
        "4: host 'h2' is here twice (first in /lab/inv.yml:3): keep one",
    ),
    ("all:\n  host: {a: }", "2: unknown key 'all.host': did you mean 'hosts'?"),
    ("hosts: {a: }", "1: 'hosts' must be inside a group: put it under 'all:'"),
    ("[a, b]", "1: the file must be a mapping that begins with 'all:', not a list"),
    (
        "all:\n  hosts:\n    - a",
        "2: all.hosts must be a mapping: write 'host1:' instead of '- host1'",
    ),
    ("all: {hosts: {'h[3:1]': }}", "1: [3:1] ends before it begins: swap its ends"),
    ("all: {hosts: {'h[1]': }}", "1: [1] is no range: write it as [1:3], [01:10:2] or [a:c]"),
    (
        "all: {hosts: {'h[1:3': }}",
        "1: 'h[1:3' has a bracket without its partner: write it as web[1:3]",
    ),
    ("all: {hosts: {'h[1:99999999]': }}", "stands for more than 10000 hosts"),
    ("all: {hosts: {'h[01:100]': }}", "need the same number of digits"),
    ("all: {hosts: {'h[1:9:0]': }}", "the step of [1:9:0] must be at least 1"),
    ("all: {hosts: {'h[1:c]': }}", "must go from number to number"),
    (
        "all: {hosts: {a: {ansible_port: many}}}",
        "1: all.hosts.a.ansible_port must be a whole number, not 'many'",
    ),
    ("all: {hosts: {a: {ansible_port: 70000}}}", "must be at most 65535"),
    ("all: {hosts: {a: {ansible_become: perhaps}}}", "must be true or false, not 'perhaps'"),
    ("all: {hosts: {a: {ansible_connection: winrm}}}", "must be ssh or local, not 'winrm'"),
    ("all: {hosts: {a: {swarmops_data_dir: data}}}", "must be an absolute path, not 'data'"),
    ("all: {hosts: {a: {swarmops_listen_addr: 'x:y:z'}}}", "must be an address like 0.0.0.0:2377"),
    (
        "all: {hosts: {a: {swarmops_advertise_addr: '0.0.0.0:2377'}}}",
        "must be one address that other hosts reach",
    ),
    ("all: {hosts: {a: {swarmops_hostname: 'a b'}}}", "must be a host name"),
    (
        f"all: {{hosts: {{a: {{swarmops_socket: /{'x' * 120}}}}}}}",
        "has 121 bytes, and Linux takes 107",
    ),
    (
        "all: {vars: {swarmops_socket: '{{ nope }}/s'}, hosts: {a: }}",
        "1: swarmops_socket: the variable 'nope' is undefined: define it under vars",
    ),
    (
        "all: {vars: {swarmops_socket: '{{ inventory_dri }}/s'}, hosts: {a: }}",
        "did you mean 'inventory_dir'?",
    ),
    ("all: {vars: {swarmops_socket: '{{ 1 + }}'}, hosts: {a: }}", "not a valid Jinja2 template"),
    (
        "all: {vars: {swarmops_socket: '/{{ a }}', a: '{{ b }}', b: '{{ a }}'}, hosts: {h: }}",
        "'a' is defined by itself (a → b → a)",
    ),
    (
        "all: {vars: {swarmops_socket: '/{{ 1 / 0 }}'}, hosts: {h: }}",
        "the template fails: division by zero",
    ),
    (
        "all: {vars: {swarmops_socket: '/{{ 3 | dictsort }}'}, hosts: {h: }}",
        "the template fails: 'int' object has no attribute 'items'",
    ),
    (
        "all: {vars: {swarmops_socket: \"/{{ 'a' * 2 ** 60 }}\"}, hosts: {h: }}",
        "swarmops_socket: the template fails: MemoryError",
    ),
    (
        "all: {hosts: {a: {swarmops_playbook: x}}}",
        "is for the whole inventory: move it to all.vars",
    ),
    (
        "all: {vars: {swarmops_playbook: []}, hosts: {a: }}",
        "1: swarmops_playbook is an empty list: name a playbook in it, or leave it out",
    ),
    (
        "all: {vars: {swarmops_playbook: [p.yml, '']}, hosts: {a: }}",
        "all.vars.swarmops_playbook.1 must be a name, not ''",
    ),
    (
        "all: {hosts: {a: {ansible_host: 192.0.2.1}, b: {ansible_host: 192.0.2.1}}}",
        "hosts 'a' and 'b' have the same address 192.0.2.1:22",
    ),
    (
        "all: {vars: {ansible_connection: local}, hosts: {a: , b: }}",
        "have the same data directory /var/lib/swarmops",
    ),
    (
        "all: {children: {x: {hosts: {a: {v: 1}}}, y: {hosts: {a: {v: 2}}}}}",
        "host 'a' has two values for v: '1' (/lab/inv.yml:1) and '2': keep one",
    ),
    ("all: {hosts: {a: }, children: {x: {children: {y: {children: {x: }}}}}}", "is its own child"),
    ("x: {children: {all: }, hosts: {a: }}", "group 'all' can't be a child"),
    ("all:\n  hosts: {a: {v: !vault abc}}", "2: it is encrypted by ansible-vault: give"),
    ("all: {hosts: {a: {v: !Foo abc}}}", "1: the tag !Foo means nothing here"),
    ("all:\n  hosts: a: b", "2:11: not valid YAML: mapping values are not allowed here"),
    ("all: &a\n  hosts: *a", "an alias that holds itself"),
    ("all:\n\thosts:", "2:1: not valid YAML: a tab can't begin anything: write spaces there"),
    ("all:\n  hosts: {a: 'b\n", "2:14: not valid YAML: what begins here never ends: check"),
    ("services: {web: {image: a}}", "1: 'services' belongs in a playbook, and this is read as"),
    ("nodes: [a]", "1: 'nodes' belongs in a playbook"),
    ("services: {host: {a: }}", "1: 'services' belongs in a playbook"),
]


@pytest.mark.parametrize(("text", "sentence"), BAD)
def test_errors_name_the_line_the_cause_and_the_cure(text: str, sentence: str):
    """What is wrong in the file is said in one sentence, with its line."""
    with pytest.raises(InputError) as caught:
        load(text)
    message = str(caught.value)
    if not sentence[0].isdigit():
        assert sentence in message
    else:
        assert message.startswith(f"/lab/inv.yml:{sentence}")
    assert "\n" not in message


def test_unreadable_files(tmp_path: Path):
    """A missing, empty, hostless or binary file is named with its cure."""
    (tmp_path / "empty.yml").write_text("# nothing\n")
    (tmp_path / "hostless.yml").write_text("all: {children: {managers: }}\n")
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "control.yml").write_bytes(b"a: \x01")
    for name, reason in {
        "gone.yml": "no such inventory",
        "empty.yml": "the inventory is empty",
        "hostless.yml": "has no hosts",
        "binary.yml": "not UTF-8",
        "control.yml": "not valid YAML",
    }.items():
        with pytest.raises(InputError, match=reason):
            read_inventory(tmp_path / name)


def test_merge_keys_and_octal_numbers():
    """``<<`` merges under what is written, and 0440 is octal as in Ansible and Compose."""
    value = parse_document(
        "b: &b {x: 1, y: 2}\nc: {<<: *b, y: 3}\nm: 0440\nd: 2024-01-01", "f"
    ).value
    assert value == {"b": {"x": 1, "y": 2}, "c": {"x": 1, "y": 3}, "m": 0o440, "d": "2024-01-01"}
