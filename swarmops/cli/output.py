"""Lay out what commands print: rows as a table or as JSON. Results go to stdout and nowhere else.

Used by every command that prints. On a terminal tables are rich's, cut to its width; elsewhere
plain columns, never cut, for people who pipe them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
import msgspec

Columns = Mapping[str, str]
"""Heading → the row's attribute, in order."""

NODE_COLUMNS: Columns = {
    "ID": "id",
    "HOST": "host",
    "STATUS": "status",
    "AVAILABILITY": "availability",
    "MANAGER STATUS": "manager_status",
    "ADDRESS": "addr",
    "VERSION": "version",
}
SERVICE_COLUMNS: Columns = {
    "ID": "id",
    "NAME": "name",
    "MODE": "mode",
    "REPLICAS": "replicas",
    "IMAGE": "image",
    "PORTS": "ports",
}
PEOPLE_COLUMNS: Columns = {
    "NAME": "name",
    "ROLE": "role",
    "CREATED": "created",
    "EXPIRES": "expires",
}
TASK_COLUMNS: Columns = {
    "ID": "id",
    "NAME": "name",
    "IMAGE": "image",
    "NODE": "node",
    "DESIRED STATE": "desired_state",
    "CURRENT STATE": "current_state",
    "ERROR": "error",
    "PORTS": "ports",
}
_ID_WIDTH = 12
_SEPARATOR = "   "


def print_rows(rows: Sequence[msgspec.Struct], columns: Columns, style: str) -> None:
    """Print rows in the asked-for format."""
    if style == "json":
        print_json(rows)
    else:
        cells = [[_cell(row, attribute) for attribute in columns.values()] for row in rows]
        print_table(list(columns), cells)


def print_objects(objects: Sequence[Any], style: str) -> None:
    """Print whole objects: JSON as Docker's API has them, or a line a field, named by its path."""
    if style == "json":
        print_json(objects)
        return
    for shown in objects:
        print_table(["FIELD", "VALUE"], [[path, text] for path, text in _fields(shown)])


def _fields(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    value = msgspec.to_builtins(value)
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _fields(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _fields(inner, f"{path}.{number}")
    else:
        yield path, str(value).strip().replace("\n", " ")


def print_json(value: Any) -> None:
    """Print structs, or lists of them, as JSON that a person can read too."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print one table without lines, as Docker does."""
    if sys.stdout.isatty():
        _print_rich(headings, rows)
        return
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for row in [headings, *rows]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo(_SEPARATOR.join(cells).rstrip())


def _print_rich(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, len(_SEPARATOR), 0, 0))
    for heading in headings:
        table.add_column(heading, no_wrap=heading in {"ID", "NAME", "HOST", "REPLICAS"})
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console(highlight=False).print(table)


_STYLES = {"Down": "red", "Unreachable": "red", "Drain": "yellow", "Pause": "yellow"}


def _cell(row: msgspec.Struct, attribute: str) -> str:
    text = str(getattr(row, attribute))
    return text[:_ID_WIDTH] if attribute == "id" else text
