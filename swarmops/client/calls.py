"""How the API is called: JSON in and out, and an error for each answer that is no success.

Used by ``Client`` for every endpoint. Raises ``ApiError`` and ``UnreachableError``; only ``change``
ever asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from swarmops.client.answers import Created, Failure
from swarmops.client.transport import Answer, Transport
from swarmops.errors import ApiError

T = TypeVar("T")

OUT_OF_SEQUENCE = "update out of sequence"
_CHANGE_TRIES_MAX = 8
_HTTP_OK = range(200, 300)


class Calls:
    """Calls over one transport; ``name`` is what errors call the host."""

    def __init__(self, transport: Transport, name: str) -> None:
        self._transport = transport
        self._name = name

    def create(
        self, path: str, spec: msgspec.Struct, headers: Mapping[str, str] | None = None
    ) -> str:
        """Create an object; return its ID."""
        answer = self.call("POST", path, body=spec, headers=headers)
        return msgspec.json.decode(answer.body, type=Created).id

    def get(self, path: str, kind: type[T], query: Mapping[str, str] | None = None) -> T:
        """Read what is at a path."""
        answer = self.call("GET", path, query)
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except msgspec.MsgspecError as error:
            raise ApiError(
                answer.status, f"{self._name}: the answer to GET {path} is not understood: {error}"
            ) from error

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: msgspec.Struct | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request; return the answer, which is a success."""
        encoded = None if body is None else msgspec.json.encode(body)
        answer = self._transport.request(method, path, query, encoded, headers)
        check(answer)
        return answer

    def change(
        self,
        read: Callable[[str], Any],
        write: Callable[[str, int, Any], None],
        object_id: str,
        change: Callable[[Any], Any],
    ) -> bool:
        """Read, change and write an object until nobody came between; False: nothing to do."""
        for tries_left in reversed(range(_CHANGE_TRIES_MAX)):
            current = read(object_id)
            wanted = change(current.spec)
            if wanted == current.spec:
                return False
            try:
                write(current.id, current.version.index, wanted)
            except ApiError as error:
                if OUT_OF_SEQUENCE not in error.message or not tries_left:
                    raise
            else:
                return True
        raise AssertionError  # pragma: no cover - the last try returns or raises


def check(answer: Answer) -> None:
    """Raise ApiError, with what the host says, on an answer that is no success."""
    if answer.status not in _HTTP_OK:
        raise ApiError(answer.status, _message(answer))


def _message(answer: Answer) -> str:
    try:
        message = msgspec.json.decode(answer.body, type=Failure).message
    except msgspec.MsgspecError:
        message = answer.body.decode(errors="replace").strip()
    return message or f"HTTP status {answer.status}"
