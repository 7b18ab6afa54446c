"""``python -m swarmops``: the same as the program ``swarmops``."""

import sys

from swarmops.cli import main

sys.exit(main())
