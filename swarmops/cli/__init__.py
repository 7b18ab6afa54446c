"""The command line: one file per noun, each parses, calls ``fleet`` or ``client`` and renders.

``main`` is the program ``swarmops``. Nothing heavy is imported before a command runs.
"""

from swarmops.cli.main import main

__all__ = ["main"]
