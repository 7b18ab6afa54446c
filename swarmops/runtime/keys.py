"""A node's new key with its signing request, made without keeping what it takes to make them.

Used by the daemon and by ``control``. The library for certificates would stay in a worker's memory
for ever, 11 MB for a moment once in two months: so a child makes the key, and it goes through a
pipe to the parent alone.
"""

from __future__ import annotations

import asyncio
import sys

from swarmops.errors import ApiError

_PROGRAM = "from swarmops.pki.root import new_request; print(*new_request(), sep='\\0', end='')"
_WITHIN_S = 30.0


async def new_key() -> tuple[str, str]:
    """Return a new private key and a signing request for it, both PEM; ApiError if that fails."""
    if "cryptography.x509" in sys.modules:  # a manager's
        from swarmops.pki.root import new_request  # noqa: PLC0415 - see the module's docstring

        return await asyncio.to_thread(new_request)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _PROGRAM,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_WITHIN_S):
            out, err = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    key_pem, _, csr_pem = out.decode().partition("\0")
    if process.returncode != 0 or not csr_pem:
        said = err.decode(errors="replace").strip().splitlines()
        reason = said[-1] if said else f"exit status {process.returncode}"
        raise ApiError(500, f"no key could be made on this node: {reason}: apply again")
    return key_pem, csr_pem
