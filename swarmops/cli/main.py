"""The program: runs a command and turns however it ends into a sentence and an exit code.

Called by the ``swarmops`` script. No user sees a traceback, unless ``--debug`` asked for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from swarmops.cli.exits import ERROR, INTERRUPTED, SOMETHING
from swarmops.cli.interrupting import end_as_after_ctrl_c
from swarmops.cli.settings import COMPLETE, Settings
from swarmops.errors import InputError, SwarmopsError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``swarmops`` with these arguments (``sys.argv`` without); return the exit code."""
    settings = Settings()
    end_as_after_ctrl_c()
    if COMPLETE in os.environ:
        from swarmops.cli import shells

        shells.prepare(os.environ[COMPLETE])
    code = _run(arguments, settings)
    if settings.log is not None:
        settings.log.write(f"exit code {code}")
        settings.log.close()
        if code not in {0, SOMETHING} and not settings.is_input:
            click.echo(f"The log of this run: {settings.log.path}", err=True)
    return code


def _run(arguments: Sequence[str] | None, settings: Settings) -> int:
    from swarmops.cli.app import swarmops

    try:
        outcome = swarmops.main(
            list(arguments) if arguments is not None else None,
            prog_name="swarmops",
            standalone_mode=False,
            obj=settings,
        )
        sys.stdout.flush()
    except click.ClickException as error:
        # Click's own code for a usage error is 2, which `plan` uses for "there is something to do".
        settings.is_input = True
        error.show()
        return ERROR
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has seen enough; keep Python from failing on it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except SwarmopsError as error:
        settings.is_input = isinstance(error, InputError)
        if settings.log is not None:
            settings.log.write(f"Error: {error}")
        if settings.debug:
            _traceback()
        click.echo(str(error) if error.exit_code == INTERRUPTED else f"Error: {error}", err=True)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last resort: said in one sentence, kept in full
        if settings.debug:
            _traceback()
        else:
            click.echo(f"Error: {_unexpected(error, settings)}", err=True)
        return ERROR
    return outcome if isinstance(outcome, int) else 0


def _traceback() -> None:
    import traceback

    traceback.print_exc()


def _unexpected(error: Exception, settings: Settings) -> str:
    from swarmops.cli.crash import write_crash

    name = type(error).__name__
    what = f"{name}: {error}" if str(error) else name
    path = write_crash(error, settings.asked)
    return f"this should not have happened ({what}): the details are in {path}"
