"""A Compose service becomes the ServiceSpec that ``docker stack deploy`` would send."""

from __future__ import annotations

from typing import Any

import pytest

from swarmops.errors import InputError
from swarmops.fleet.compose import read_service
from swarmops.fleet.document import parse_document
from swarmops.fleet.entry import Entry
from swarmops.model.base import to_builtins

S = 1_000_000_000


def spec(text: str) -> dict[str, Any]:
    """Return the ServiceSpec of service ``web``, as sent."""
    result, warnings = read_service("web", Entry.top(parse_document(text, "p.yml")))
    assert warnings == ()
    built: dict[str, Any] = to_builtins(result)
    return built


def part(text: str, path: str) -> Any:
    """Return one part of the spec, by Docker's names."""
    value = spec("image: i\n" + text)
    for name in path.split("."):
        value = value.get(name, {})
    return value


def test_the_least_service():
    """An image alone makes one replica, and nothing is said that the user didn't say."""
    assert spec("image: nginx:1") == {
        "Name": "web",
        "TaskTemplate": {"ContainerSpec": {"Image": "nginx:1"}},
        "Mode": {"Replicated": {}},
    }


C = "TaskTemplate.ContainerSpec."


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("command: sh -c 'echo $X'", C + "Args", ["sh", "-c", "echo $X"]),
        ("command: [sleep, 5]", C + "Args", ["sleep", "5"]),
        ("entrypoint: /run.sh -v", C + "Command", ["/run.sh", "-v"]),
        ("environment: {B: 1, A: true, C: ''}", C + "Env", ["A=true", "B=1", "C="]),
        ("environment: [B=1, A=x=y]", C + "Env", ["A=x=y", "B=1"]),
        ("labels: [a=b]", C + "Labels", {"a": "b"}),
        ("working_dir: /srv", C + "Dir", "/srv"),
        ("user: 1000", C + "User", "1000"),
        ("hostname: '{{.Node.Hostname}}'", C + "Hostname", "{{.Node.Hostname}}"),
        ("stop_signal: SIGINT", C + "StopSignal", "SIGINT"),
        ("stop_grace_period: 1m30s", C + "StopGracePeriod", 90 * S),
        ("init: true", C + "Init", True),
        ("read_only: yes", C + "ReadOnly", True),
        ("tty: on", C + "TTY", True),
        ("stdin_open: true", C + "OpenStdin", True),
        ("extra_hosts: ['a:10.0.0.1', 'b=::1']", C + "Hosts", ["10.0.0.1 a", "::1 b"]),
        ("extra_hosts: {a: 10.0.0.1}", C + "Hosts", ["10.0.0.1 a"]),
        ("dns: 9.9.9.9", C + "DNSConfig", {"Nameservers": ["9.9.9.9"]}),
        ("cap_add: [NET_ADMIN]", C + "CapabilityAdd", ["NET_ADMIN"]),
        ("cap_drop: [ALL]", C + "CapabilityDrop", ["ALL"]),
        ("sysctls: {net.core.somaxconn: 1024}", C + "Sysctls", {"net.core.somaxconn": "1024"}),
        (
            "ulimits: {nproc: 65535, nofile: {soft: 1, hard: 2}}",
            C + "Ulimits",
            [
                {"Name": "nproc", "Soft": 65535, "Hard": 65535},
                {"Name": "nofile", "Soft": 1, "Hard": 2},
            ],
        ),
        (
            "healthcheck: {test: curl localhost, interval: 500ms, retries: 3}",
            C + "Healthcheck",
            {"Test": ["CMD-SHELL", "curl localhost"], "Interval": S // 2, "Retries": 3},
        ),
        ("healthcheck: {disable: true}", C + "Healthcheck", {"Test": ["NONE"]}),
        (
            "secrets: [s2, {source: s1, target: key, uid: 1, mode: 0400}]",
            C + "Secrets",
            [
                {
                    "File": {"Name": "key", "UID": "1", "GID": "0", "Mode": 0o400},
                    "SecretID": "",
                    "SecretName": "s1",
                },
                {
                    "File": {"Name": "s2", "UID": "0", "GID": "0", "Mode": 0o444},
                    "SecretID": "",
                    "SecretName": "s2",
                },
            ],
        ),
        (
            "configs: [c]",
            C + "Configs",
            [
                {
                    "File": {"Name": "/c", "UID": "0", "GID": "0", "Mode": 0o444},
                    "ConfigID": "",
                    "ConfigName": "c",
                }
            ],
        ),
        (
            "volumes: ['data:/var/lib/x', '/etc/hosts:/h:ro', /cache]",
            C + "Mounts",
            [
                {"Type": "volume", "Source": "data", "Target": "/var/lib/x"},
                {"Type": "bind", "Source": "/etc/hosts", "Target": "/h", "ReadOnly": True},
                {"Type": "volume", "Target": "/cache"},
            ],
        ),
        (
            "volumes: [{type: tmpfs, target: /t, tmpfs: {size: 64M, mode: 01777}}]",
            C + "Mounts",
            [
                {
                    "Type": "tmpfs",
                    "Target": "/t",
                    "TmpfsOptions": {"SizeBytes": 64 << 20, "Mode": 0o1777},
                }
            ],
        ),
        ("tmpfs: /run", C + "Mounts", [{"Type": "tmpfs", "Target": "/run"}]),
        (
            "logging: {driver: json-file, options: {max-size: 10m}}",
            "TaskTemplate.LogDriver",
            {"Name": "json-file", "Options": {"max-size": "10m"}},
        ),
        (
            "networks: [back]",
            "TaskTemplate.Networks",
            [{"Target": "back", "Aliases": ["web"]}],
        ),
        (
            "networks: {back: {aliases: [w]}, front: }",
            "TaskTemplate.Networks",
            [
                {"Target": "back", "Aliases": ["w", "web"]},
                {"Target": "front", "Aliases": ["web"]},
            ],
        ),
        (
            "ports: ['8080:80', 443, '53:53/udp']",
            "EndpointSpec.Ports",
            [
                {"Protocol": "tcp", "TargetPort": 443, "PublishMode": "ingress"},
                {
                    "Protocol": "udp",
                    "TargetPort": 53,
                    "PublishedPort": 53,
                    "PublishMode": "ingress",
                },
                {
                    "Protocol": "tcp",
                    "TargetPort": 80,
                    "PublishedPort": 8080,
                    "PublishMode": "ingress",
                },
            ],
        ),
        (
            "ports: [{target: 80, published: '8080', mode: host}]",
            "EndpointSpec.Ports",
            [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "host"}],
        ),
        ("deploy: {mode: global}", "Mode", {"Global": {}}),
        ("deploy: {replicas: 4}", "Mode", {"Replicated": {"Replicas": 4}}),
        ("deploy: {replicas: 0}", "Mode", {"Replicated": {"Replicas": 0}}),
        (
            "deploy: {mode: replicated-job, replicas: 3}",
            "Mode",
            {"ReplicatedJob": {"MaxConcurrent": 3, "TotalCompletions": 3}},
        ),
        ("deploy: {labels: {a: 1}}", "Labels", {"a": "1"}),
        ("deploy: {endpoint_mode: dnsrr}", "EndpointSpec", {"Mode": "dnsrr"}),
        (
            (
                "deploy: {resources: {limits: {cpus: '0.5', memory: 64M, pids: 9},"
                " reservations: {memory: 1g}}}"
            ),
            "TaskTemplate.Resources",
            {
                "Limits": {"NanoCPUs": S // 2, "MemoryBytes": 64 << 20, "Pids": 9},
                "Reservations": {"MemoryBytes": 1 << 30},
            },
        ),
        (
            (
                "deploy: {placement: {constraints: ['node.labels.disk == ssd', node.role!=manager],"
                " preferences: [{spread: node.labels.zone}], max_replicas_per_node: 1}}"
            ),
            "TaskTemplate.Placement",
            {
                "Constraints": ["node.labels.disk==ssd", "node.role!=manager"],
                "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}],
                "MaxReplicas": 1,
            },
        ),
        (
            (
                "deploy: {restart_policy: {condition: on-failure, delay: 5s, max_attempts: 3,"
                " window: 2m}}"
            ),
            "TaskTemplate.RestartPolicy",
            {"Condition": "on-failure", "Delay": 5 * S, "MaxAttempts": 3, "Window": 120 * S},
        ),
        (
            (
                "deploy: {update_config: {parallelism: 2, delay: 10s, failure_action: rollback,"
                " max_failure_ratio: 0.3, order: start-first}}"
            ),
            "UpdateConfig",
            {
                "Parallelism": 2,
                "Delay": 10 * S,
                "FailureAction": "rollback",
                "MaxFailureRatio": 0.3,
                "Order": "start-first",
            },
        ),
        ("deploy: {rollback_config: {parallelism: 0}}", "RollbackConfig", {"Parallelism": 0}),
    ],
)
def test_mapping(text: str, path: str, expected: object):
    """Each key of Compose lands where Docker has it."""
    assert part(text, path) == expected


@pytest.mark.parametrize(
    "key", ["build: .", "depends_on: [db]", "container_name: x", "restart: always"]
)
def test_what_a_swarm_does_not_have_is_a_warning(key: str):
    """Keys that swarm mode ignores are named, and nothing else happens."""
    _, warnings = read_service("web", Entry.top(parse_document(f"image: i\n{key}", "p.yml")))
    assert len(warnings) == 1
    assert warnings[0].startswith(f"p.yml:2: {key.split(':', maxsplit=1)[0]} is ignored")


def test_x_keys_are_left_alone():
    """Compose's extension fields say nothing to anyone."""
    assert spec("{image: i, x-note: hello}") == spec("image: i")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("imagee: x", "unknown key 'imagee': did you mean 'image'?"),
        (
            "image: i\ndeploy: {replica: 3}",
            "p.yml:2: unknown key 'deploy.replica': did you mean 'replicas'?",
        ),
        (
            "image: i\ndeploy:\n  placement:\n    constraint: []",
            "p.yml:4: unknown key 'deploy.placement.constraint'",
        ),
        ("image: i\nreplicas: 3", "p.yml:2: replicas is not read here: write deploy.replicas"),
        ("image: i\nplacement: {}", "p.yml:2: placement is not read here: write deploy.placement"),
        ("command: x", "needs an image"),
        (
            "image: i\ndeploy: {replicas: four}",
            "deploy.replicas must be a whole number, not 'four'",
        ),
        ("image: i\ndeploy: {replicas: -1}", "must be at least 0"),
        ("image: i\ndeploy: {mode: globl}", "did you mean 'global'?"),
        ("image: i\ndeploy: {mode: global, replicas: 2}", "has one task a node: remove it"),
        (
            "image: i\ndeploy: {mode: global-job, update_config: {delay: 1s}}",
            "jobs have no update_config",
        ),
        (
            "image: i\ndeploy: {update_config: {delay: 10}}",
            "must be a duration like 10s or 1m30s, not '10'",
        ),
        ("image: i\ndeploy: {update_config: {max_failure_ratio: 2}}", "a share from 0 to 1"),
        (
            "image: i\ndeploy: {resources: {limits: {memory: lots}}}",
            "deploy.resources.limits.memory must be a size like 64M",
        ),
        ("image: i\ndeploy: {resources: {limits: {cpus: nan}}}", "must be a number of CPUs"),
        (
            "image: i\ndeploy: {placement: {constraints: [disk]}}",
            "deploy.placement.constraints.0 must be a constraint",
        ),
        ("image: i\nports: ['127.0.0.1:80:80']", "leave the address out"),
        ("image: i\nports: [99999]", "from 1 to 65535"),
        ("image: i\nports: ['80-82:80']", "must have the same length"),
        ("image: i\nvolumes: ['./x:/y']", "must be an absolute path"),
        ("image: i\nvolumes: ['x:/y:rx']", "unknown option 'rx'"),
        ("image: i\nvolumes: [{type: bind, target: /x}]", "needs source"),
        (
            "image: i\nvolumes: [{type: tmpfs, target: /x, volume: {nocopy: true}}]",
            "belong to type volume",
        ),
        ("image: i\nenvironment: [FOO]", "'FOO' has no value: write 'FOO='"),
        ("image: i\nenvironment: {FOO: }", "has no value: write 'FOO: \"\"'"),
        ("image: i\nenvironment: {FOO: [1]}", "environment.FOO must be a string, not a list"),
        ('image: i\ncommand: "sh -c \'x"', "a command whose quotes are closed"),
        ("image: i\ncommand: {a: b}", "must be a command"),
        ("image: 3.20", "image must be an image's name, not '3.2'"),
        (
            "image: i\nscale: 3",
            "scale is not read here: write deploy.replicas",
        ),
        ("image: i\nhealthcheck: {test: [curl]}", "begins with NONE, CMD or CMD-SHELL"),
        ("image: i\nsecrets: [{target: x}]", "needs source"),
        ("image: i\nsecrets: [{source: x, mode: 99999}]", "a file mode like 0440"),
        ("image: i\nulimits: {nofile: {soft: 1}}", "needs both soft and hard"),
    ],
)
def test_errors_name_the_key_and_the_cure(text: str, sentence: str):
    """What is wrong in a service is said with its place, its key and what was expected."""
    with pytest.raises(InputError) as caught:
        read_service("web", Entry.top(parse_document(text, "p.yml")))
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("p.yml:")


@pytest.mark.parametrize("name", ["", "-web", "web-", "a" * 64, "we b", "w.eb"])
def test_bad_service_names(name: str):
    """A service's name must be one that Docker takes."""
    with pytest.raises(InputError, match="can't be a service's name"):
        read_service(name, Entry.top(parse_document("image: i", "p.yml")))
