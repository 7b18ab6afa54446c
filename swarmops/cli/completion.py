"""``swarmops completion``: what a shell needs to complete commands, options and live names."""

from __future__ import annotations

import click

from swarmops.cli.settings import COMPLETE, Settings, pass_settings


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_settings
def completion(settings: Settings, shell: str) -> None:
    """Print what a shell needs to complete commands, options and live names.

    \b
    To install it:
      echo 'eval "$(swarmops completion bash)"' >> ~/.bashrc
      echo 'eval "$(swarmops completion zsh)"' >> ~/.zshrc
      swarmops completion fish > ~/.config/fish/completions/swarmops.fish
    """
    del settings
    from click.shell_completion import get_completion_class

    from swarmops.cli import shells
    from swarmops.cli.app import swarmops

    shells.prepare()
    found = get_completion_class(shell)
    if found is None:
        raise AssertionError("click knows the shells that the argument allows")
    click.echo(found(swarmops, {}, "swarmops", COMPLETE).source())
