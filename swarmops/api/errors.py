"""Docker's refusals: their texts, their HTTP statuses, and what our own errors become there.

Used by every handler; clients and tests search for these texts, so they are Docker's word for word.
A handler raises ``ApiError``; ``translate`` turns the errors of the store and of Raft into one.
It never imports Raft: a worker serves the API too, and its memory is for its tasks.
"""

from __future__ import annotations

import sys

from swarmops.errors import ApiError, SwarmopsError
from swarmops.store import (
    FileInUse,
    IngressMissing,
    IngressPresent,
    NameConflict,
    NetworkInUse,
    NotFound,
    PortConflict,
    ReferenceMissing,
    StoreError,
    SubnetConflict,
)

STATUS_OF_CODE = {
    "InvalidArgument": 400,
    "FailedPrecondition": 400,
    "OutOfRange": 400,
    "Unauthenticated": 401,
    "PermissionDenied": 403,
    "NotFound": 404,
    "AlreadyExists": 409,
    "Unknown": 500,
    "Internal": 500,
    "Unimplemented": 501,
    "Unavailable": 503,
    "DeadlineExceeded": 504,
}
_CODE_OF_REFUSAL: dict[type[SwarmopsError], str] = {
    NameConflict: "AlreadyExists",
    IngressPresent: "AlreadyExists",
    PortConflict: "InvalidArgument",
    SubnetConflict: "InvalidArgument",
    FileInUse: "InvalidArgument",
    ReferenceMissing: "InvalidArgument",
    NetworkInUse: "FailedPrecondition",
    IngressMissing: "FailedPrecondition",
}
"""What the store refuses as Docker's swarm does, with its prefix."""

NO_LEADER = (
    "The swarm does not have a leader. It's possible that too few managers are online. "
    "Make sure more than half of the managers are online."
)
PAGE_NOT_FOUND = "page not found"
NO_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect '
    "this node to swarm and try again."
)
NO_MANAGER = (
    "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. "
    "Please run this command on a manager node or promote the current node to a manager."
)
MANAGER_STARTS = (
    "This node is not a swarm manager. "
    "Manager is being prepared or has trouble connecting to the cluster."
)
LOCKED = (
    "Swarm is encrypted and needs to be unlocked before it can be used. "
    'Please use "docker swarm unlock" to unlock it.'
)
LOCKED_LEAVE = (
    "Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message."
)
NOT_LOCKED = "swarm is not locked"
IN_SWARM = (
    'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join '
    "another one."
)
NOT_IN_SWARM = "This node is not part of a swarm"
JOIN_TIMEOUT = (
    "Timeout was reached before node joined. The attempt to join the swarm will continue in the "
    'background. Use the "docker info" command to see the current swarm status of your node.'
)
LEAVE_MANAGER = (
    "You are attempting to leave the swarm on a node that is participating as a manager. "
)
LEAVE_LAST = (
    "Removing the last manager erases all current state of the swarm. "
    "Use `--force` to ignore this message. "
)
LEAVE_QUORUM = (
    "Removing this node leaves {left} managers out of {all}. "
    "Without a Raft quorum your swarm will be inaccessible. "
)
LEAVE_ONLY_WAY = (
    "The only way to restore a swarm that has lost consensus is to reinitialize it with "
    "`--force-new-cluster`. Use `--force` to suppress this message."
)
DEMOTE_LAST = "attempting to demote the last manager of the swarm"
REMOVE_MANAGER = (
    "node {id} is a cluster manager and is a member of the raft cluster. "
    "It must be demoted to worker before removal"
)
REMOVE_LIVE = "node {id} is not down and can't be removed"
RENAME = "renaming services is not supported"
MODE_CHANGE = "service mode change is not allowed"
LABELS_ONLY = "only updates to Labels are allowed"


def rpc(code: str, description: str) -> ApiError:
    """Make an error that in Docker comes from the swarm's own gRPC, prefix included."""
    return ApiError(STATUS_OF_CODE[code], f"rpc error: code = {code} desc = {description}")


def invalid(description: str) -> ApiError:
    """Refuse a value that the swarm itself checks (400)."""
    return rpc("InvalidArgument", description)


def bad_request(message: str) -> ApiError:
    """Refuse a request before the swarm sees it (400, no prefix)."""
    return ApiError(400, message)


def not_found(kind: str, reference: str) -> ApiError:
    """Say that there is no such object: ``service web not found``."""
    return ApiError(404, f"{kind} {reference} not found")


def ambiguous(kind: str, reference: str, matches: int) -> ApiError:
    """Say that a name or a prefix fits several objects."""
    return bad_request(f"{kind} {reference} is ambiguous ({matches} matches found)")


def translate(error: SwarmopsError) -> ApiError:
    """Return the answer to an error of the store, of Raft or of the node."""
    text = str(error)
    match error:
        case ApiError():
            return error
        case NameConflict() if text.startswith("network"):
            return ApiError(409, text)
        case StoreError() if type(error) in _CODE_OF_REFUSAL:
            return rpc(_CODE_OF_REFUSAL[type(error)], text)
        case NotFound():
            return ApiError(404, text)
        case _:
            ours = isinstance(error, StoreError) or _is_of_raft(error, "RaftError")
            # A manager that was demoted under the request sends the client to another one.
            code = "Unavailable" if _is_of_raft(error, "Stopped") else "Unknown"
            return rpc(code, text) if ours else ApiError(500, text)


def _is_of_raft(error: SwarmopsError, kind: str) -> bool:
    """Whether Raft raised this kind of error; if those were never imported it can't have."""
    raft_errors = sys.modules.get("swarmops.raft.errors")
    return raft_errors is not None and isinstance(error, getattr(raft_errors, kind))
