"""How long the operator waits for a command that does nothing. `python -m bench.command_line`."""

import os
import statistics
import subprocess
import sys
from pathlib import Path

from bench.measuring import load, print_table
from bench.watching import now_s

RUNS = 15
PROGRAM = Path(sys.executable).with_name("swarmops")


def measure_help() -> dict[str, float]:
    """Return the median seconds of `swarmops --help`, from the start of its process to its end."""
    took_s = []
    for _ in range(RUNS):
        started_s = now_s()
        subprocess.run([str(PROGRAM), "--help"], stdout=subprocess.DEVNULL, check=True)
        took_s.append(now_s() - started_s)
    return {"help_s": statistics.median(took_s)}


if __name__ == "__main__":
    print(f"load average: {load()}; {os.cpu_count()} processors")
    print_table("swarmops --help", measure_help())
