"""Errors that nobody foresaw: an id for the client, and the log that explains it.

Used where an answer ends in one: by the application, and by a stream that has begun already.
"""

from __future__ import annotations

import secrets
import traceback

import structlog
from aiohttp import web

log = structlog.get_logger("swarmops.api")


def note(request: web.Request) -> str:
    """Log the error being handled; return its id."""
    error_id = secrets.token_hex(4)
    # Not log.exception, which may print local variables: a secret's body.
    log.error(
        "request failed",
        error_id=error_id,
        method=request.method,
        path=request.path,
        traceback=traceback.format_exc(),
    )
    return error_id
