"""Image references: which are well formed, and which one means a process of the host.

Pure; used by the border's checks. Source of the grammar: the OCI distribution reference.
"""

from __future__ import annotations

import re

from swarmops.model.defaults import PROCESS_IMAGE

_PART = r"[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*"
_HOST = (
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
    r"(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
)
_REFERENCE = re.compile(
    rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"
    r"(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?"
)
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")
"""An image's ID on one machine: no other could find it by that."""
REFERENCE_LENGTH_MAX = 512


def is_reference(image: str) -> bool:
    """Whether this can name an image."""
    return (
        len(image) <= REFERENCE_LENGTH_MAX
        and _REFERENCE.fullmatch(image) is not None
        and _IDENTIFIER.fullmatch(image) is None
    )


def is_process_image(image: str) -> bool:
    """Whether this means the process executor; the CLI appends ``:latest`` to every bare name."""
    return image in (PROCESS_IMAGE, f"{PROCESS_IMAGE}:latest")
