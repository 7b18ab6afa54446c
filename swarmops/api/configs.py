"""``/secrets`` and ``/configs``: small files, alike in everything but that secrets stay unseen.

One set of handlers for both. A body is never logged, and a secret's data never answered.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web
from msgspec.structs import replace

from swarmops.api import body, errors, query, render, resolve
from swarmops.api.gate import manager_store
from swarmops.api.removing import deletion, remove
from swarmops.api.reply import nothing, reply, reply_list
from swarmops.api.route import Handler, Route, node_of
from swarmops.model.answers import Created
from swarmops.model.base import given
from swarmops.model.ids import new_id
from swarmops.model.secret import Config, ConfigSpec, Secret, SecretSpec
from swarmops.store import NotFound, OutOfSequence, Store, Transaction
from swarmops.store.references import check_unused

SECRET_BYTES_MAX = 500 * 1024
CONFIG_BYTES_MAX = 1000 * 1024
NAME_LENGTH_MAX = 64
_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-_.]*[a-zA-Z0-9])?")


class Kind:
    """What tells secrets and configs apart."""

    name: str
    spec_type: type[Any]
    object_type: type[Any]
    bytes_max: int
    filters: frozenset[str]

    def table(self, store: Store) -> Any:
        """Return where they are stored."""
        raise NotImplementedError

    def find(self, store: Store, reference: str) -> Any:
        """Resolve a client's reference."""
        raise NotImplementedError

    def show(self, stored: Any) -> object:
        """Return what clients may see."""
        raise NotImplementedError


class SecretKind(Kind):
    """Secrets: the data never comes back."""

    name = "secret"
    spec_type = SecretSpec
    object_type = Secret
    bytes_max = SECRET_BYTES_MAX
    filters = frozenset(("id", "name", "names", "label"))

    def table(self, store: Store) -> Any:
        """Return the secrets."""
        return store.secrets

    def find(self, store: Store, reference: str) -> Secret:
        """Resolve a client's reference to a secret."""
        return resolve.secret(store, reference)

    def show(self, stored: Secret) -> object:
        """Return the secret without its data."""
        return render.secret(stored)


class ConfigKind(Kind):
    """Configs: as secrets, but readable and larger."""

    name = "config"
    spec_type = ConfigSpec
    object_type = Config
    bytes_max = CONFIG_BYTES_MAX
    filters = frozenset(("id", "name", "label"))

    def table(self, store: Store) -> Any:
        """Return the configs."""
        return store.configs

    def find(self, store: Store, reference: str) -> Config:
        """Resolve a client's reference to a config."""
        return resolve.config(store, reference)

    def show(self, stored: Config) -> object:
        """Return the config."""
        return render.config(stored)


def routes(kind: Kind) -> list[Route]:
    """Return the five routes of one kind."""
    path = f"/{kind.name}s"
    handlers: Sequence[tuple[str, str, Callable[[Kind, web.Request], Any]]] = (
        ("POST", f"{path}/create", _create),
        ("GET", path, _list),
        ("GET", f"{path}/{{id}}", _inspect),
        ("POST", f"{path}/{{id}}/update", _update),
        ("DELETE", f"{path}/{{id}}", _remove),
    )
    return [Route(method, where, _for(kind, handler)) for method, where, handler in handlers]


def _for(kind: Kind, handler: Callable[[Kind, web.Request], Any]) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        answer: web.StreamResponse = await handler(kind, request)
        return answer

    return handle


async def _create(kind: Kind, request: web.Request) -> web.StreamResponse:
    node = node_of(request)
    spec = await body.read(request, kind.spec_type)
    store = await manager_store(node)
    _check(kind, spec)
    driver = given(getattr(spec, "driver", None), None)
    if driver is not None:
        raise errors.rpc("Unknown", f'plugin "{given(driver.name, "")}" not found')
    created = kind.object_type(
        id=new_id(node.rng), spec=replace(spec, labels=given(spec.labels, {}))
    )
    tx = Transaction()
    tx.put(created)
    await store.commit(tx)
    return reply(Created(id=created.id), status=201)


async def _list(kind: Kind, request: web.Request) -> web.StreamResponse:
    filters = query.filters_of(request, kind.filters)
    store = await manager_store(node_of(request))

    def keep(stored: Any) -> bool:
        name = given(stored.spec.name, "")
        return (
            query.begins(filters, "id", stored.id)
            and query.begins(filters, "name", name)
            and query.equals(filters, "names", name)
            and query.labelled(filters, "label", given(stored.spec.labels, {}))
        )

    return await reply_list(request, list(kind.table(store)), keep, kind.show)


async def _inspect(kind: Kind, request: web.Request) -> web.StreamResponse:
    store = await manager_store(node_of(request))
    return reply(kind.show(kind.find(store, request.match_info["id"])))


async def _update(kind: Kind, request: web.Request) -> web.StreamResponse:
    """Change labels; the same data is accepted, other data refused."""
    wanted = await body.read(request, kind.spec_type)
    version = query.version_of(request, kind.name)
    store = await manager_store(node_of(request))
    stored = kind.find(store, request.match_info["id"])
    same_name = given(wanted.name, "") == given(stored.spec.name, "")
    same_data = given(wanted.data, "") in ("", given(stored.spec.data, ""))
    if not same_name or not same_data:
        raise errors.invalid(errors.LABELS_ONLY)
    if version != stored.version.index:
        raise OutOfSequence
    changed = replace(stored, spec=replace(stored.spec, labels=given(wanted.labels, {})))
    if changed != stored:
        tx = Transaction()
        tx.put(changed, expected=version)
        await store.commit(tx)
    return nothing()


async def _remove(kind: Kind, request: web.Request) -> web.StreamResponse:
    store = await manager_store(node_of(request))
    reference = request.match_info["id"]

    def unused(stored: Any) -> Transaction:
        check_unused(stored, store.services)
        return deletion(stored)

    try:
        await remove(store, kind.find(store, reference), find=kind.find, transaction=unused)
    except NotFound:
        raise errors.not_found(kind.name, reference) from None
    return nothing(status=204)


def _check(kind: Kind, spec: Any) -> None:
    name = given(spec.name, "")
    if not name:
        raise errors.invalid("name must be provided")
    if len(name) > NAME_LENGTH_MAX or not _NAME.fullmatch(name):
        raise errors.invalid(
            "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end "
            "character must be [a-zA-Z0-9]"
        )
    try:
        data = base64.b64decode(given(spec.data, ""), validate=True)
    except (binascii.Error, ValueError):
        raise errors.bad_request("illegal base64 data at input byte 0") from None
    if given(getattr(spec, "driver", None), None) is None and not 0 < len(data) < kind.bytes_max:
        raise errors.invalid(
            f"{kind.name} data must be larger than 0 and less than {kind.bytes_max} bytes"
        )


ROUTES = [*routes(SecretKind()), *routes(ConfigKind())]
