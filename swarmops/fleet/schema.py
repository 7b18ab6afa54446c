"""JSON Schemas of playbooks and inventories, so that editors complete and check them.

Called by ``swarmops schema`` and by the test that keeps ``schemas/`` as this says. Keys are from
the readers' own tables; the readers stay the judges, and know more than a schema can say. Values
may be templates anywhere, so every value may also be a text with ``{{``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from swarmops.fleet import compose, compose_container, hooks, host, materials
from swarmops.fleet.compose_fields import Table, count, duration, environment, pairs, size, words
from swarmops.fleet.entry import Entry
from swarmops.fleet.playbook import KEYS, SWARM

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TEMPLATE: Schema = {"type": "string", "pattern": r"\{[{%]"}
_STRING: Schema = {"type": ["string", "number"]}
_BOOLEAN: Schema = {"anyOf": [{"type": "boolean"}, {"enum": ["yes", "no", "on", "off"]}, _TEMPLATE]}
_COUNT: Schema = {"anyOf": [{"type": "integer", "minimum": 0}, _TEMPLATE]}
_SCALAR: Schema = {"type": ["string", "number", "boolean", "null"]}
_STRINGS: Schema = {"anyOf": [_STRING, {"type": "array", "items": _STRING}]}
_PAIRS: Schema = {
    "anyOf": [
        {"type": "object", "additionalProperties": _SCALAR},
        {"type": "array", "items": {"type": "string"}},
    ]
}
_OF_READER: Mapping[Callable[..., Any], Schema] = {
    Entry.name: _STRING,
    Entry.string: _STRING,
    Entry.boolean: _BOOLEAN,
    Entry.strings: _STRINGS,
    Entry.integer: {"anyOf": [{"type": "integer"}, _TEMPLATE]},
    count: _COUNT,
    duration: _STRING,
    size: _STRING,
    pairs: _PAIRS,
    environment: _PAIRS,
    words: _STRINGS,
}


def _object(properties: Mapping[str, Schema], *, extra: str = "") -> Schema:
    """Return a mapping of these keys; null is an empty one."""
    found: Schema = {
        "type": ["object", "null"],
        "properties": dict(properties),
        "additionalProperties": False,
    }
    return found | ({"patternProperties": {extra: {}}} if extra else {})


def _map_of(schema: Schema) -> Schema:
    return {"type": ["object", "null"], "additionalProperties": schema}


def _table(table: Table) -> dict[str, Schema]:
    return {key: _OF_READER.get(read, {}) for key, (_, read) in table.items()}


def _choice(*names: str) -> Schema:
    return {"anyOf": [{"enum": list(names)}, _TEMPLATE]}


def _keys(names: Iterable[str], schema: Schema | None = None) -> dict[str, Schema]:
    return {name: schema or {} for name in names}


def _deploy() -> Schema:
    rollout = {
        **_keys(("parallelism",), _COUNT),
        **_keys(("delay", "monitor", "max_failure_ratio"), _STRING),
        "order": _choice("stop-first", "start-first"),
    }
    resources = {**_keys(("cpus", "memory"), _STRING), "pids": _COUNT, "generic_resources": {}}
    return _object(
        {
            "mode": _choice("replicated", "global", "replicated-job", "global-job"),
            "replicas": _COUNT,
            "endpoint_mode": _choice("vip", "dnsrr"),
            "labels": _PAIRS,
            "update_config": _object(
                {**rollout, "failure_action": _choice("pause", "continue", "rollback")}
            ),
            "rollback_config": _object({**rollout, "failure_action": _choice("pause", "continue")}),
            "resources": _object(
                {"limits": _object(resources), "reservations": _object(resources)}
            ),
            "restart_policy": _object(
                {
                    "condition": _choice("none", "on-failure", "any"),
                    **_keys(("delay", "window"), _STRING),
                    "max_attempts": _COUNT,
                    "backoff": _object(_keys(("factor", "max"), _STRING)),
                }
            ),
            "placement": _object(
                {
                    "constraints": _STRINGS,
                    "preferences": {"type": "array", "items": _object({"spread": _STRING})},
                    "max_replicas_per_node": _COUNT,
                }
            ),
        }
    )


def _service() -> Schema:
    properties = {
        **_keys(compose.IGNORED),
        **_keys(compose_container.KEYS),
        **_table(compose_container.CONTAINER),
        **_keys(("ports", "networks", "logging", "volumes", "tmpfs", "secrets", "configs")),
        "deploy": _deploy(),
        "env_file": {},
        "extends": {},
    }
    return _object(properties, extra="^x-")


def _material() -> Schema:
    return _object(
        {
            **_keys(materials.SOURCES, _STRING),
            "command": _STRINGS,
            "external": _BOOLEAN,
            "labels": _PAIRS,
            "name": _STRING,
        }
    )


def _network() -> Schema:
    return _object(
        {
            **_keys(("driver", "name"), _STRING),
            **_keys(("internal", "attachable", "enable_ipv6", "external"), _BOOLEAN),
            **_keys(("driver_opts", "labels"), _PAIRS),
            "ipam": {},
        }
    )


def _hook() -> Schema:
    return _object({"command": _STRINGS, "hosts": _STRING, "timeout": _STRING})


def _stack() -> Schema:
    long = _object({"compose": _STRINGS, "env_file": _STRINGS, "variables": _PAIRS})
    return {"anyOf": [_STRINGS, long]}


def playbook_schema() -> Schema:
    """Return the schema of playbooks."""
    parts: dict[str, Schema] = {
        "swarm": _object(_table(SWARM)),
        "nodes": _map_of(
            _object(
                {
                    "role": _choice("manager", "worker"),
                    "availability": _choice("active", "pause", "drain"),
                    "labels": _map_of(_SCALAR),
                }
            )
        ),
        "services": _map_of(_service()),
        "stacks": _map_of(_stack()),
        "secrets": _map_of(_material()),
        "configs": _map_of(_material()),
        "networks": _map_of(_network()),
        "prune": _BOOLEAN,
        "include": _STRINGS,
        "vars": _map_of({}),
        "hooks": _object(_keys(hooks.WHEN, {"type": "array", "items": _hook()})),
    }
    return {
        "$schema": DIALECT,
        "title": "swarmops playbook",
        **_object({key: parts.get(key, {}) for key in KEYS}),
    }


def inventory_schema() -> Schema:
    """Return the schema of inventories in YAML; variables of Ansible's and one's own are free."""
    variables: Schema = {
        "type": ["object", "null"],
        "properties": _keys(sorted(host.OUR_VARS)),
        # A misspelt variable of ours is an error, as the reader has it.
        "patternProperties": {"^(?!swarmops_)": {}},
        "additionalProperties": False,
    }
    group: Schema = {
        "type": ["object", "null"],
        "properties": {
            "hosts": _map_of(variables),
            "vars": variables,
            "children": _map_of({"$ref": "#/$defs/group"}),
        },
        "additionalProperties": False,
    }
    return {
        "$schema": DIALECT,
        "title": "swarmops inventory",
        "type": "object",
        "additionalProperties": {"$ref": "#/$defs/group"},
        "$defs": {"group": group},
    }
