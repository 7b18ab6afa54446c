"""A node's key is made by a child, so that a worker keeps nothing of what makes it."""

from __future__ import annotations

import subprocess
import sys

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from swarmops.runtime.keys import new_key

_IN_A_WORKER = """
import asyncio, sys
from swarmops.runtime.keys import new_key
key, request = asyncio.run(new_key())
assert not [name for name in sys.modules if name.partition(".")[0] == "cryptography"]
print(key, request, sep="\\0", end="")
"""


def test_a_worker_gets_a_fitting_pair_and_imports_no_cryptography() -> None:
    """The request is for that very key and is signed with it."""
    done = subprocess.run([sys.executable, "-c", _IN_A_WORKER], capture_output=True, check=True)
    key_pem, _, csr_pem = done.stdout.partition(b"\0")
    _check(key_pem, csr_pem)


async def test_where_it_is_imported_already_no_child_is_needed() -> None:
    """A manager makes its own."""
    key_pem, csr_pem = await new_key()
    _check(key_pem.encode(), csr_pem.encode())


def _check(key_pem: bytes, csr_pem: bytes) -> None:
    request = x509.load_pem_x509_csr(csr_pem)
    assert request.is_signature_valid
    assert request.public_key() == load_pem_private_key(key_pem, None).public_key()
