"""The playbook says what the swarm should look like, or what is wrong in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarmops.errors import InputError
from swarmops.fleet.document import parse_document
from swarmops.fleet.groups import read_groups
from swarmops.fleet.host import OUR_VARS
from swarmops.fleet.inventory import Inventory, build_inventory
from swarmops.fleet.nodes import NodeWish
from swarmops.fleet.playbook import (
    Playbook,
    build_playbook,
    playbook_paths,
    read_playbook,
)
from swarmops.model.node import Availability, Role

FIVE = """
all:
  vars: {replicas: 4, tag: "1.{{ minor }}", minor: 25, settings: {cpus: 2}}
  hosts:
    host[1:5]:
  children:
    edge: {hosts: {host4: , host5: {disk: ssd}}}
"""
HOST_PORT = "[{target: 80, published: 80, mode: host}]"


def inventory(text: str = FIVE) -> Inventory:
    """Return an inventory from its text."""
    return build_inventory("inv.yml", read_groups(parse_document(text, "inv.yml"), OUR_VARS))


def play(text: str, hosts: str = FIVE) -> Playbook:
    """Return a playbook from its text."""
    return build_playbook(parse_document(text, "prod.yml"), inventory(hosts))


def test_the_whole_of_it():
    """Swarm, nodes and services arrive as they were written."""
    playbook = play("""
swarm: {name: shop, backend: docker, managers: 3}
nodes: {host3: {role: worker, availability: drain, labels: {disk: ssd, old: }}}
services: {web: {image: "nginx:1.27", command: [sleep, "9"], deploy: {replicas: 4}}}
""")
    assert (playbook.name, playbook.backend, playbook.managers) == ("shop", "docker", 3)
    assert playbook.nodes == {
        "host3": NodeWish(
            role=Role.WORKER,
            availability=Availability.DRAIN,
            labels={"disk": "ssd", "old": None},
        )
    }
    assert list(playbook.services) == ["web"]
    assert playbook.warnings == ()


def test_an_empty_playbook_is_a_swarm_of_the_usual_size():
    """Nothing said means three managers, the native backend and the file's name."""
    playbook = play("")
    assert (playbook.name, playbook.backend, playbook.managers) == ("prod", "native", 3)
    assert not playbook.says_managers
    assert play("swarm: {name: x}").says_managers


@pytest.mark.parametrize(
    ("hosts", "managers"),
    [
        ("all: {hosts: {'h[1:9]': }}", 3),
        ("all: {hosts: {'h[1:2]': }}", 1),
        ("{all: {hosts: {'h[1:9]': }}, managers: {hosts: {'h[1:5]': }}}", 5),
        ("{all: {hosts: {'h[1:9]': }}, managers: {hosts: {'h[1:4]': }}}", 3),
        ("{all: {hosts: {'h[1:9]': }}, workers: {hosts: {'h[2:9]': }}}", 1),
    ],
)
def test_the_usual_number_of_managers(hosts: str, managers: int):
    """Without a number: the group's hosts, else three, never an even number."""
    assert play("services: {}", hosts).managers == managers


def test_templates_keep_types_and_see_the_inventory():
    """One expression keeps its type; vars of all, groups and hostvars are in scope."""
    playbook = play("""
swarm: {managers: "{{ groups.all | length }}"}
nodes: {host5: {labels: {disk: "{{ hostvars.host5.disk }}"}}}
services:
  web:
    image: "nginx:{{ tag }}"
    hostname: "{{.Node.Hostname}}-{{ minor }}"
    deploy: {replicas: "{{ replicas }}", resources: {limits: "{{ settings }}"}}
""")
    assert playbook.managers == 5
    assert playbook.nodes["host5"].labels == {"disk": "ssd"}
    text = str(playbook.services["web"])
    assert "nginx:1.25" in text
    assert "replicas=4" in text
    assert "nano_cpus=2000000000" in text
    assert "{{.Node.Hostname}}-25" in text


def test_a_value_with_yaml_signs_stays_a_value():
    """Rendering is after parsing: a variable can't change the file's structure."""
    hosts = 'all: {vars: {evil: "x\\n  other: {image: y}"}, hosts: {a: }}'
    playbook = play("services: {web: {image: i, hostname: '{{ evil }}'}}", hosts)
    assert list(playbook.services) == ["web"]


def test_nodes_by_pattern():
    """A group or pattern stands for its hosts; a host's own entry is stronger."""
    playbook = play("""
nodes:
  host4: {availability: active, labels: {b: 2}}
  edge: {availability: drain, labels: {a: 1}}
""")
    assert playbook.nodes["host4"] == NodeWish(
        availability=Availability.ACTIVE, labels={"a": "1", "b": "2"}
    )
    assert playbook.nodes["host5"].availability is Availability.DRAIN
    assert playbook.wish("host1") == NodeWish()


@pytest.mark.parametrize(
    ("text", "hosts", "warning"),
    [
        (
            "swarm: {managers: 4}",
            FIVE,
            "prod.yml:1: an even number of managers (4) bears no more losses than 3: ask for 3 or",
        ),
        (
            "swarm: {managers: 9}",
            "all: {hosts: {'h[1:9]': }}",
            "9 managers make every write slower",
        ),
        (
            "swarm: {managers: 7}",
            FIVE,
            "7 managers are wanted, but only 5 hosts may be: there will be 5",
        ),
        (
            "services: {w: {image: i, restart: always}}",
            FIVE,
            "prod.yml:1: services.w.restart is ignored",
        ),
    ],
)
def test_warnings(text: str, hosts: str, warning: str):
    """Doubtful wishes are warned of once, and carried out."""
    warnings = play(text, hosts).warnings
    assert len(warnings) == 1
    assert warning in warnings[0]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("swam: {}", "prod.yml:1: unknown key 'swam': did you mean 'swarm'?"),
        (
            "swarm:\n  manager: 3",
            "prod.yml:2: unknown key 'swarm.manager': did you mean 'managers'?",
        ),
        ("swarm: {managers: three}", "swarm.managers must be a whole number, not 'three'"),
        ("swarm: 3", "swarm must be a mapping"),
        ("- hosts: all", "not Ansible's list of plays"),
        (
            "nodes:\n  hots3: {role: worker}",
            "nodes: no host or group of inv.yml is named 'hots3': did you mean 'host3'?",
        ),
        ("nodes: {host3: {roll: worker}}", "did you mean 'role'?"),
        ("nodes: {host3: {role: boss}}", "nodes.host3.role must be manager or worker, not 'boss'"),
        ("nodes: {host3: {availability: drained}}", "did you mean 'drain'?"),
        ("nodes: {host3: {labels: [a]}}", "nodes.host3.labels must be a mapping"),
        ("swarm: {managers: 0}", "which leaves no manager"),
        ("nodes: {all: {role: worker}}", "no host may be a manager"),
        (
            "swarm: {managers: 1}\nnodes: {host1: {role: manager}, host2: {role: manager}}",
            "but 2 hosts have role: manager (host1, host2)",
        ),
        (
            "services: {web: {image: '{{ img }}'}}",
            "prod.yml:1: services.web.image: the variable 'img' is undefined",
        ),
        (
            "services:\n  web:\n    image: '{{ tga }}'",
            "prod.yml:3: services.web.image: the variable 'tga' is undefined: did you mean 'tag'?",
        ),
        ("services: {web: {image: '{{ hostvars.host1.disk }}'}}", "has no attribute 'disk'"),
        ("services: {web: nginx}", "services.web must be a mapping with an image, not 'nginx'"),
        ("services: {web: {image: a}, web: {image: b}}", "'web' is here twice"),
        ("swarm: {managers: 3", "not valid YAML"),
        (
            "services:\n  a: {image: i, ports: ['80:80']}\n  b: {image: i, ports: ['80:81']}",
            "prod.yml:3: services 'a' and 'b' both publish 80/tcp: give one of them another port",
        ),
        (
            f"services: {{a: {{image: i, ports: ['80:80']}}, b: {{image: i, ports: {HOST_PORT}}}}}",
            "prod.yml:1: services 'a' and 'b' both publish 80/tcp",
        ),
        (
            "services: {a: {image: i, ports: ['79-80:79-80', '80:81']}}",
            "prod.yml:1: services.a.ports has 80/tcp twice: keep one",
        ),
    ],
)
def test_errors(text: str, sentence: str):
    """What is wrong is said in one sentence with its line."""
    with pytest.raises(InputError) as caught:
        play(text)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("prod.yml:")


def test_ports_that_do_not_clash():
    """One number may be a TCP and a UDP port, two services' in mode host, and chosen twice."""
    assert play(f"""
services:
  a: {{image: i, ports: {HOST_PORT}}}
  b: {{image: i, ports: {HOST_PORT}}}
  c: {{image: i, ports: ["53:53", "53:53/udp", "90", "91"]}}
  d: {{image: i, ports: ["90"]}}
""").services.keys() == set("abcd")


def test_a_worker_can_not_be_forced_to_manage():
    """role: manager for a host outside of group managers is refused."""
    with pytest.raises(InputError, match="the inventory's groups make it a worker"):
        play(
            "nodes: {h2: {role: manager}}",
            "{all: {hosts: {h1: , h2: }}, managers: {hosts: {h1: }}}",
        )


def test_which_playbook(tmp_path: Path):
    """-p beats swarmops_playbook; with neither, the sentence says what to do."""
    named = inventory("all: {vars: {swarmops_playbook: p.yml}, hosts: {a: }}")
    assert playbook_paths(named) == (Path("p.yml"),)
    both = inventory("all: {vars: {swarmops_playbook: [p.yml, q]}, hosts: {a: }}")
    assert playbook_paths(both) == (Path("p.yml"), Path("q"))
    assert playbook_paths(named, [Path("a.yml"), Path("b.yml")]) == (Path("a.yml"), Path("b.yml"))
    with pytest.raises(InputError, match="set swarmops_playbook"):
        playbook_paths(inventory())
    with pytest.raises(InputError, match="no such playbook"):
        read_playbook([tmp_path / "gone.yml"], inventory())


def test_backends_of_hosts_must_agree():
    """Two backends in one inventory are refused, one is taken."""
    one = "all: {vars: {swarmops_backend: docker}, hosts: {a: }}"
    assert play("", one).backend == "docker"
    with pytest.raises(InputError, match="a swarm has one backend"):
        play("", "all: {hosts: {a: {swarmops_backend: docker}, b: {swarmops_backend: native}}}")


def test_a_process_is_refused_where_the_backend_has_only_containers():
    """Docker's swarm mode would look for an image called host."""
    with pytest.raises(InputError, match=r"prod.yml:2: service 'web' has image 'host'.*native"):
        play("swarm: {backend: docker}\nservices: {web: {image: host, command: [sleep, '9']}}\n")
