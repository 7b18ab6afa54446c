"""The reference pages, in Markdown, made from the code: commands here, formats by the fleet.

Called by ``make docs`` as ``python -m swarmops.cli.reference``, and by the test that keeps what is
checked in as this says.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from swarmops.cli import exits
from swarmops.cli.app import swarmops
from swarmops.fleet.reference import MADE, inventory_page, playbook_page
from swarmops.fleet.schema import inventory_schema, playbook_schema

_EVERYWHERE = {option.name for option in swarmops.params} - {"version"}
_ABOUT = """\
How they work together is in [Commands](../cli.md). Durations are written `10s`, `1m30s`, `500ms`;
sizes `64m`, `2g` in powers of 1024.
"""
_HEAD = ("| option | default | meaning |", "|---|---|---|")


def files() -> dict[str, str]:
    """Return path in the repository → content, of everything that is made from the code."""
    return {
        "docs/reference/cli.md": commands_page(),
        "docs/reference/playbook.md": playbook_page(),
        "docs/reference/inventory.md": inventory_page(),
        "schemas/playbook.json": _json(playbook_schema()),
        "schemas/inventory.json": _json(inventory_schema()),
    }


def _json(schema: dict[str, object]) -> str:
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


def commands_page() -> str:
    """Return the page of every command."""
    parts = [
        MADE,
        "# Every command\n",
        _ABOUT,
        "## Options of every command\n",
        "They may stand before or after the command.\n",
        _options(swarmops),
        "## Exit codes\n",
        "| code | meaning |\n|---|---|",
        "\n".join(f"| {code} | {meaning} |" for code, meaning in exits.MEANINGS.items()) + "\n",
    ]
    for names, command in commands(swarmops):
        parts += _command(names, command)
    return "\n".join(parts)


def commands(
    command: click.Command, names: tuple[str, ...] = ("swarmops",)
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command but the first, groups before what is in them."""
    if len(names) > 1:
        yield names, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for verb in command.list_commands(context):
            inner = command.get_command(context, verb)
            if inner is not None:
                yield from commands(inner, (*names, verb))


def _command(names: tuple[str, ...], command: click.Command) -> Iterator[str]:
    level = "##" if len(names) == 2 else "###"  # noqa: PLR2004 - the program and a command
    yield f"{level} {' '.join(names)}\n"
    if not isinstance(command, click.Group):
        context = click.Context(command)
        pieces = " ".join(_plain(piece) for piece in command.collect_usage_pieces(context))
        yield f"    {' '.join(names)} {pieces}\n"
    yield _prose(command.help or "") + "\n"
    options = _options(command)
    if options:
        yield options


def _plain(piece: str) -> str:
    return piece.replace("[[", "[").replace("]]", "]")


def _prose(text: str) -> str:
    """Return a help text as Markdown: examples, which click keeps as they are, as code."""
    return "\n\n".join(
        _example(block) if block.startswith("\b") else " ".join(block.split())
        for block in inspect.cleandoc(text).split("\n\n")
    )


def _example(block: str) -> str:
    _, heading, *lines = block.splitlines()
    return "\n".join([f"{heading}\n", *(f"    {line.strip()}" for line in lines)])


def _options(command: click.Command) -> str:
    lines = []
    for option in command.params:
        if not isinstance(option, click.Option) or option.hidden:
            continue
        if option.name in _EVERYWHERE and command is not swarmops:
            continue
        text, default = _default(option)
        lines.append(f"| {_names(option)} | {default} | {text} |")
    return "\n".join([*_HEAD, *lines, ""]) if lines else ""


def _names(option: click.Option) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    value = "" if option.is_flag else f" {option.make_metavar(click.Context(swarmops))}"
    return f"`{names}{value}`".replace("|", "\\|")


def _default(option: click.Option) -> tuple[str, str]:
    """Return an option's text without the default that it tells, and that default."""
    text = (option.help or "").replace("|", "\\|")
    told = re.search(r"\s*\[default: (.*)\]$", text)
    default = told[1] if told else ""
    if not told and option.show_default and option.default is not None and not option.is_flag:
        default = f"`{option.default}`"
    return (text[: told.start()] if told else text) + _bounds(option.type), default


def _bounds(of: Any) -> str:
    if not isinstance(of, click.IntRange | click.FloatRange) or of.min in {None, 0}:
        return ""
    return f" (at least {of.min})" if of.max is None else f" ({of.min} to {of.max})"


def main() -> int:
    """Write the files below the folder that is given, else below the current one."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    for name, content in files().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
