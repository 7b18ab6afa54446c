"""The reference pages of playbooks and inventories, in Markdown, made from their JSON Schemas.

Called by ``cli.reference``; pure. One table for each mapping: key, what it takes, default, meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from swarmops.fleet import compose, host, meanings
from swarmops.fleet.schema import playbook_schema, variable_types
from swarmops.fleet.schema_types import LABELS, Schema

MADE = "<!-- Made by `make docs` from the code: change it there. -->\n"
Row = tuple[str, str, meanings.Meaning]
"""A key, what it takes, what it means."""
_ABOUT = """\
What belongs together, and examples, are in [Playbook](../playbook.md). Values may be templates.
`NAME` stands for a name of yours, `[]` for an item of a list.
"""
_HEAD = ("| key | takes | default | meaning |", "|---|---|---|---|")


def playbook_page() -> str:
    """Return the page of every key of a playbook."""
    schema = playbook_schema()
    parts = [
        MADE,
        "# Every key of a playbook\n",
        _ABOUT,
    ]
    for path, section in _sections(schema, ""):
        parts.append(
            f"{'##' if path.removesuffix('.*').count('.') < 1 else '###'} {_title(path)}\n"
        )
        parts.append(_table(section, path))
        if path == "services.*":
            ignored = ", ".join(f"`{name}`" for name in sorted(compose.IGNORED))
            instead = "; ".join(f"`{k}`: {v.replace('write ', 'write `')}`" for k, v in _INSTEAD)
            parts.append(
                f"Ignored with a warning, for a swarm has no such thing: {ignored}.\n\n"
                f"Refused, for ignoring them would change what runs: {instead}.\n\n"
                "Keys that begin with `x-` are left alone.\n"
            )
    return "\n".join(parts)


_INSTEAD = sorted(compose.INSTEAD.items())


def inventory_page() -> str:
    """Return the page of every variable of an inventory."""
    types = variable_types()
    rows = {name: meanings.VARIABLES[name] for name in types}
    parts = [
        MADE,
        "# Every variable of an inventory\n",
        "How inventories are written, and examples, are in [Inventory](../inventory.md).\n",
        "## Groups\n",
        _rows((key, "", meaning) for key, meaning in meanings.GROUP.items()),
        "## Ansible's\n",
        "All other variables of Ansible's are left alone.\n",
        _rows((name, _type(types[name]), rows[name]) for name in host.ANSIBLE_VARS),
        "Other spellings: "
        + ", ".join(
            f"`{other}` for `{name}`"
            for name, others in host.ANSIBLE_VARS.items()
            for other in others
        )
        + ".\n",
        "## Ours\n",
        "Any other variable that begins with `swarmops_` is an error.\n",
        _rows((name, _type(types[name]), rows[name]) for name in sorted(host.OUR_VARS)),
    ]
    return "\n".join(parts)


def _sections(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Yield every mapping with known keys, outer ones first."""
    if "properties" in schema:
        yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from _sections(inner, f"{path}.{name}" if path else name)
    for option in schema.get("anyOf", []):
        yield from _sections(option, path)
    if isinstance(schema.get("items"), dict):
        yield from _sections(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _sections(schema["additionalProperties"], f"{path}.*")


def _title(path: str) -> str:
    return f"`{path.replace('*', 'NAME')}`" if path else "The file"


def _anchor(path: str) -> str:
    """Return GitHub's anchor of a section's heading."""
    title = path.replace("*", "NAME").lower()
    return "".join(letter for letter in title if letter.isalnum() or letter in "_-")


def _table(schema: Schema, path: str) -> str:
    rows = []
    for name, inner in schema["properties"].items():
        if not inner.get("deprecated"):
            inner_path = f"{path}.{name}" if path else name
            meaning = meanings.PLAYBOOK[inner_path]
            rows.append((name, _type(inner, inner_path), meaning))
    return _rows(rows)


def _rows(rows: Iterable[Row]) -> str:
    lines = [
        f"| `{name}` | {_cell(takes)} | {_cell(meaning.default)} | {_cell(meaning.text)} |"
        for name, takes, meaning in rows
    ]
    return "\n".join([*_HEAD, *lines, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _type(schema: Schema, path: str = "") -> str:
    """Return what a key takes, in a few words, with a link to the table of its own keys."""
    if "$ref" in schema:
        return LABELS[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        found = [_type(option, path) for option in schema["anyOf"] if not _is_template(option)]
        return ", or ".join(dict.fromkeys(filter(None, found)))
    if "properties" in schema:
        return f"[mapping](#{_anchor(path)})"
    if isinstance(schema.get("items"), dict):
        return f"list of: {_type(schema['items'], f'{path}[]')}"
    if isinstance(schema.get("additionalProperties"), dict):
        inner = _type(schema["additionalProperties"], f"{path}.*")
        return f"names to: {inner}" if inner else "names to anything"
    named = {"object": "mapping", "string": "text"}.get(str(schema.get("type")), "")
    return ", ".join(f"`{word}`" for word in schema.get("enum", [])) or named


def _is_template(schema: Mapping[str, object]) -> bool:
    return "pattern" in schema and "$ref" not in schema
