"""Identifiers in Docker's form: 25 characters of base36, about 128 random bits."""

from __future__ import annotations

import random

ID_LENGTH = 25
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def new_id(rng: random.Random) -> str:
    """Draw an ID from ``rng`` (``random.SystemRandom()`` in a daemon, a seeded one in tests)."""
    return base36(rng.getrandbits(128), ID_LENGTH)


def base36(number: int, width: int) -> str:
    """Spell a number ≥ 0 in base36, padded with zeros on the left to ``width`` characters."""
    digits = []
    while number:
        number, digit = divmod(number, 36)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits)).rjust(width, "0")
