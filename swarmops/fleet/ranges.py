"""Ansible's ranges in host names: ``web[1:3]``, ``web[01:10:2]``, ``rack-[a:c]``.

Called by the inventory's reader; pure.
"""

from __future__ import annotations

import re
import string

HOSTS_MAX = 10_000
_RANGE = re.compile(r"\[([^\[\]]*)\]")


def expand(name: str) -> list[str]:
    """Return the names that a name with ranges stands for, in order, both ends included.

    Raises ValueError with the reason when a range is none, or stands for too many names.
    """
    found = _RANGE.search(name)
    if found is None:
        if "[" in name or "]" in name:
            raise ValueError(f"'{name}' has a bracket without its partner: write it as web[1:3]")
        return [name]
    head, items = name[: found.start()], _items(found[1], found[0])
    rests = expand(name[found.end() :])
    if len(items) * len(rests) > HOSTS_MAX:
        raise ValueError(
            f"'{name}' stands for more than {HOSTS_MAX} hosts: make its ranges smaller"
        )
    return [f"{head}{item}{rest}" for item in items for rest in rests]


def _items(inner: str, shown: str) -> list[str]:
    parts = inner.split(":")
    if len(parts) not in {2, 3}:
        raise ValueError(f"{shown} is no range: write it as [1:3], [01:10:2] or [a:c]")
    start, end = parts[0] or "0", parts[1]
    try:
        step = int(parts[2]) if len(parts) == 3 else 1  # noqa: PLR2004 - start, end, step
    except ValueError:
        raise ValueError(f"the step of {shown} must be a whole number") from None
    if step < 1:
        raise ValueError(f"the step of {shown} must be at least 1")
    if not end:
        raise ValueError(f"{shown} has no end: write it as [{start}:9]")
    if start.isdecimal() and end.isdecimal():
        return _numbers(start, end, step, shown)
    letters = string.ascii_letters
    if len(start) == len(end) == 1 and start in letters and end in letters:
        first, last = letters.index(start), letters.index(end)
        if first > last:
            raise ValueError(f"{shown} ends before it begins: swap its ends")
        return list(letters[first : last + 1 : step])
    raise ValueError(f"{shown} must go from number to number, or from letter to letter")


def _numbers(start: str, end: str, step: int, shown: str) -> list[str]:
    width = len(start) if len(start) > 1 and start.startswith("0") else 0
    if width and len(end) != width:
        raise ValueError(f"both ends of {shown} need the same number of digits, as in [01:10]")
    first, last = int(start), int(end)
    if first > last:
        raise ValueError(f"{shown} ends before it begins: swap its ends")
    if (last - first) // step >= HOSTS_MAX:
        raise ValueError(f"{shown} stands for more than {HOSTS_MAX} hosts: make it smaller")
    return [str(number).rjust(width, "0") for number in range(first, last + 1, step)]
