"""``swarmops schema``: the JSON Schema of playbooks or inventories, for editors."""

from __future__ import annotations

import click


@click.command()
@click.argument("kind", type=click.Choice(["playbook", "inventory"]))
def schema(kind: str) -> None:
    """Print the JSON Schema of playbooks or of inventories, for editors."""
    from swarmops.cli.output import print_json
    from swarmops.fleet.schema import inventory_schema, playbook_schema

    print_json(playbook_schema() if kind == "playbook" else inventory_schema())
