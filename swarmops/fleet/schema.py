"""JSON Schemas of playbooks and inventories, so that editors complete, explain and check them.

Called by ``swarmops schema``, by ``reference`` and by the test that keeps ``schemas/`` as this
says. Keys are from the readers' own tables, sentences from ``meanings``; the readers stay the
judges, and know more than a schema can say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from swarmops.fleet import compose, hooks, host, materials, meanings
from swarmops.fleet.meanings import Meaning
from swarmops.fleet.playbook import KEYS, SWARM
from swarmops.fleet.schema_service import service_schema
from swarmops.fleet.schema_types import (
    DEFS,
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

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_GROUP = {"$ref": "#/$defs/group"}


def playbook_schema() -> Schema:
    """Return the schema of playbooks."""
    material = {
        **keys(materials.SOURCES, ref("text")),
        "command": ref("texts"),
        "external": ref("boolean"),
        "labels": ref("pairs"),
        "name": ref("text"),
        materials.WORKING_DIR: ref("text"),
    }
    part = choice(*hooks.PARTS)
    hook = mapping(
        {
            "command": ref("texts"),
            "hosts": ref("text"),
            "timeout": ref("duration"),
            "only": either(part, list_of(part)),
        }
    )
    parts: dict[str, Schema] = {
        "swarm": mapping(table(SWARM) | {"replace_dead_after": ref("duration")}),
        "nodes": map_of(
            mapping(
                {
                    "role": choice("manager", "worker"),
                    "availability": choice("active", "pause", "drain"),
                    "labels": map_of(ref("scalar")),
                }
            )
        ),
        "services": map_of(service_schema()),
        "stacks": map_of(either(ref("texts"), mapping(_STACK))),
        "secrets": map_of(mapping({k: v for k, v in material.items() if k != "content"})),
        "configs": map_of(mapping(material)),
        "networks": map_of(_network()),
        "prune": ref("boolean"),
        "include": ref("texts"),
        "vars": map_of({}),
        "defaults": map_of({}),
        "hooks": mapping(keys(hooks.WHEN, list_of(hook))),
    }
    schema = explained(mapping({key: parts[key] for key in KEYS}), meanings.PLAYBOOK)
    return {"$schema": DIALECT, "title": "swarmops playbook", **schema, "$defs": DEFS}


_STACK = {"compose": ref("texts"), "env_file": ref("texts"), "variables": ref("pairs")}


def _network() -> Schema:
    subnet = mapping(keys(("subnet", "ip_range", "gateway"), ref("text")))
    return mapping(
        {
            **keys(("driver", "name"), ref("text")),
            **keys(("internal", "attachable", "enable_ipv6", "external"), ref("boolean")),
            **keys(("driver_opts", "labels"), ref("pairs")),
            "ipam": mapping({"driver": ref("text"), "config": list_of(subnet), "options": {}}),
        }
    )


_VARIABLES: dict[str, Schema] = {
    "ansible_connection": choice("ssh", "local"),
    "ansible_port": ref("port"),
    "ansible_ssh_private_key_file": ref("texts"),
    "swarmops_playbook": ref("texts"),
    **keys(("ansible_become", "swarmops_install_docker"), ref("boolean")),
    **keys(("ansible_ssh_timeout", "ansible_ssh_retries"), ref("count")),
    "ansible_host_key_checking": choice("accept-new", "yes", "ask", "no"),
}


def inventory_schema() -> Schema:
    """Return the schema of inventories in YAML; variables of Ansible's and one's own are free."""
    names = sorted({*host.ANSIBLE_VARS, *host.OUR_VARS})
    variables: Schema = {
        "type": ["object", "null"],
        # Of Ansible's nothing is checked here: it takes more words than are read.
        "properties": {
            name: {} if name in host.ANSIBLE_VARS else _VARIABLES.get(name, ref("text"))
            for name in names
        },
        # A misspelt variable of ours is an error, as the reader has it.
        "patternProperties": {"^(?!swarmops_)": {}},
        "additionalProperties": False,
    }
    group = mapping(
        {
            "hosts": map_of({"$ref": "#/$defs/variables"}),
            "vars": {"$ref": "#/$defs/variables"},
            "children": map_of(_GROUP),
        }
    )
    return {
        "$schema": DIALECT,
        "title": "swarmops inventory",
        "type": "object",
        "additionalProperties": _GROUP,
        "$defs": {
            "group": explained(group, meanings.GROUP),
            "variables": explained(variables, meanings.VARIABLES),
            **DEFS,
        },
    }


def variable_types() -> dict[str, Schema]:
    """Return what each variable of an inventory takes, Ansible's too: for people to read."""
    return {
        name: _VARIABLES.get(name, ref("text"))
        for name in (*host.ANSIBLE_VARS, *sorted(host.OUR_VARS))
    }


def explained(schema: Schema, of: Mapping[str, Meaning]) -> Schema:
    """Return the schema with a sentence for every key. KeyError: ``meanings`` lacks one."""
    # Through bytes, since parts of it are one object in several places.
    found: Schema = msgspec.json.decode(msgspec.json.encode(schema))
    for path, name, inner in properties(found):
        if name in compose.IGNORED and inner.get("deprecated"):
            inner["description"] = "Ignored with a warning: a swarm has no such thing."
        else:
            inner["description"] = of[path].sentence
    return found


def properties(schema: Schema, path: str = "") -> Iterator[tuple[str, str, Schema]]:
    """Yield every key at any depth: its path (``nodes.*.role``, ``ports[].mode``), name, schema."""
    for option in schema.get("anyOf", []):
        yield from properties(option, path)
    if isinstance(schema.get("items"), dict):
        yield from properties(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from properties(schema["additionalProperties"], f"{path}.*" if path else "*")
    for name, inner in schema.get("properties", {}).items():
        inner_path = f"{path}.{name}" if path else name
        yield inner_path, name, inner
        yield from properties(inner, inner_path)
