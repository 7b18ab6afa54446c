"""``--with-registry-auth``, as Docker's: for the commands that create or change services."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from swarmops.fleet.actions import Login

registry_auth_option = click.option(
    "--with-registry-auth",
    "registry_auth",
    is_flag=True,
    help="Let the swarm pull images of services with what 'docker login' got here",
)


def login_of(*, registry_auth: bool) -> Login:
    """Return what says what an image's registry is shown; nothing unless that was asked for."""
    if not registry_auth:
        from swarmops.fleet.actions import no_login

        return no_login
    from swarmops.fleet.registry_login import registry_auth as login

    return login
