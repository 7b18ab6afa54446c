"""The JSON Schema of one Compose service in a playbook.

Used by ``schema``; pure. Keys are from the readers' own tables.
"""

from __future__ import annotations

from swarmops.fleet import compose, compose_container, compose_files, compose_mounts, compose_ports
from swarmops.fleet.schema_types import (
    Schema,
    choice,
    either,
    keys,
    list_of,
    map_of,
    mapping,
    ref,
    table,
)


def service_schema() -> Schema:
    """Return the schema of one service."""
    file = either(ref("text"), mapping(table(compose_files.LONG)))
    return mapping(
        {
            **table(compose_container.CONTAINER),
            "image": {"type": "string"},
            "healthcheck": mapping(
                table(compose_container.HEALTH) | {"test": ref("texts"), "disable": ref("boolean")}
            ),
            "extra_hosts": either(ref("pairs"), map_of(ref("texts"))),
            "ulimits": map_of(
                either(ref("integer"), mapping(keys(("soft", "hard"), ref("integer"))))
            ),
            "secrets": list_of(file),
            "configs": list_of(file),
            **table(compose_container.DNS),
            "volumes": list_of(either(ref("text"), _volume())),
            "tmpfs": ref("texts"),
            "ports": list_of(either(ref("text"), _port())),
            "networks": either(
                ref("texts"),
                map_of(mapping({"aliases": ref("texts"), "driver_opts": ref("pairs")})),
            ),
            "logging": mapping({"driver": ref("text"), "options": ref("pairs")}),
            "deploy": _deploy(),
            "env_file": either(ref("texts"), list_of({"type": "object"})),
            "extends": either(ref("text"), mapping(keys(("service", "file"), ref("text")))),
            **keys(sorted(compose.IGNORED), {"deprecated": True}),
        },
        extra="^x-",
    )


def _port() -> Schema:
    return mapping(
        table(compose_ports.LONG)
        | {
            "target": ref("port"),
            "published": ref("port"),
            "protocol": choice("tcp", "udp", "sctp"),
            "mode": choice("ingress", "host"),
            "app_protocol": ref("text"),
        }
    )


def _volume() -> Schema:
    bind = table(compose_mounts.BIND)
    return mapping(
        table(compose_mounts.LONG)
        | {
            "type": choice("volume", "bind", "tmpfs", "npipe", "cluster"),
            "target": ref("text"),
            "bind": mapping(
                bind | {"propagation": choice(*compose_mounts.PROPAGATIONS), "selinux": ref("text")}
            ),
            "volume": mapping(table(compose_mounts.VOLUME)),
            "tmpfs": mapping(table(compose_mounts.TMPFS)),
        }
    )


def _rollout(*failure_actions: str) -> Schema:
    return mapping(
        {
            "parallelism": ref("count"),
            "delay": ref("duration"),
            "failure_action": choice(*failure_actions),
            "monitor": ref("duration"),
            "max_failure_ratio": ref("number"),
            "order": choice("stop-first", "start-first"),
        }
    )


def _deploy() -> Schema:
    resources = {"cpus": ref("number"), "memory": ref("size")}
    generic = mapping(
        {"discrete_resource_spec": mapping({"kind": ref("text"), "value": ref("count")})}
    )
    return mapping(
        {
            "mode": choice("replicated", "global", "replicated-job", "global-job"),
            "replicas": ref("count"),
            "labels": ref("pairs"),
            "endpoint_mode": choice("vip", "dnsrr"),
            "placement": mapping(
                {
                    "constraints": list_of(ref("text")),
                    "preferences": list_of(mapping({"spread": ref("text")})),
                    "max_replicas_per_node": ref("count"),
                }
            ),
            "resources": mapping(
                {
                    "limits": mapping(resources | {"pids": ref("count")}),
                    "reservations": mapping(resources | {"generic_resources": list_of(generic)}),
                }
            ),
            "restart_policy": mapping(
                {
                    "condition": choice("any", "on-failure", "none"),
                    "delay": ref("duration"),
                    "max_attempts": ref("count"),
                    "window": ref("duration"),
                    "backoff": mapping({"factor": ref("number"), "max": ref("duration")}),
                }
            ),
            "update_config": _rollout("pause", "continue", "rollback"),
            "rollback_config": _rollout("pause", "continue"),
        }
    )
