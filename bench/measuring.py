"""What every benchmark script does around its numbers: a lab to run in, the load, a table, JSON."""

import json
import os
import statistics
from collections.abc import Callable

from tests.lab import lab as labs
from tests.lab.lab import Lab

Result = dict[str, float]


def in_lab(title: str, measure: Callable[[Lab], Result]) -> None:
    """Measure in the running lab, or in one started for this, and print what came out."""
    found = labs.running()
    lab = found or labs.up()[0]
    try:
        print(f"load average before: {load()}")
        print_table(title, measure(lab))
        print(f"load average after: {load()}")
    finally:
        if found is None:
            labs.down()


def print_table(title: str, result: Result) -> None:
    """Print one number a line, then all of them as one line of JSON."""
    print(title)
    for name, value in result.items():
        print(f"  {name:<18} {value:8.2f}")
    print(json.dumps({title: {name: round(value, 3) for name, value in result.items()}}))


def medians(results: list[Result]) -> Result:
    """Return the median of each number; of a `…_max_s` the greatest."""
    return {
        name: (max if "_max_" in name else statistics.median)(result[name] for result in results)
        for name in results[0]
    }


def load() -> str:
    """Return the machine's load averages: other work on it is in every number."""
    return " ".join(f"{average:.1f}" for average in os.getloadavg())
