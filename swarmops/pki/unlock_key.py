"""Unlock keys in Docker's form: ``SWMKEY-1-`` and 32 random bytes in base64 without padding.

A person keeps one; managers that lock themselves need it to open what they have on disk.
"""

from __future__ import annotations

import base64
import binascii
import random

from swarmops.errors import InputError

KEY_BYTES = 32
_PREFIX = "SWMKEY-1-"


def new_unlock_key(rng: random.Random) -> str:
    """Draw a new key."""
    return _PREFIX + base64.b64encode(rng.randbytes(KEY_BYTES)).decode().rstrip("=")


def parse_unlock_key(text: str) -> bytes:
    """Return the key's bytes; raises InputError with Docker's text if it is none."""
    encoded = text.strip().removeprefix(_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.strip().startswith(_PREFIX) or len(key) != KEY_BYTES:
        raise InputError("invalid key string")
    return key
