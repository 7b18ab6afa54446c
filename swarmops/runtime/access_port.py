"""The API over the network: a TLS port that managers open when the swarm asks for it.

Follows the store: opens, moves and closes with the setting, takes a new certificate before the old
one ends, and cuts off who is no longer let in. Who may do what is decided by the API, for each
request; here a connection needs no more than a certificate of the swarm's root.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import structlog
from aiohttp import web

from swarmops.api.callers import known_person
from swarmops.model.base import given
from swarmops.model.swarm import Cluster, ClusterInternal
from swarmops.pki.identity import write_private
from swarmops.pki.person import PersonIdentity, person_identity
from swarmops.runtime.daemon import Daemon
from swarmops.runtime.dial import split_address
from swarmops.runtime.first_request import FirstRequest
from swarmops.store import Store

if TYPE_CHECKING:
    from swarmops.runtime.manager_part import ManagerPart

log = structlog.get_logger(__name__)

LOOK_S = 1.0
"""How often the node's role, the certificate's age and a port that was taken are looked at."""
HANDSHAKE_S = 5.0
BACKLOG = 256
LIFETIME = timedelta(days=90)
CERT_FILE = "api.pem"
_WEB_LOCAL = ("localhost", "127.0.0.1", "::1")


class Setting(NamedTuple):
    """What an open port depends on."""

    host: str
    port: int
    names: tuple[str, ...]
    root: str


class AccessPort:
    """Serves the runner's application, which is the network's, while this node is a manager."""

    def __init__(self, daemon: Daemon, runner: web.AppRunner) -> None:
        self._daemon = daemon
        self._runner = runner
        self._server: asyncio.Server | None = None
        self._open: Setting | None = None
        self._renew_at = datetime.max.replace(tzinfo=UTC)
        self._said = ""
        self._inside: WeakKeyDictionary[asyncio.Transport, PersonIdentity | None] = (
            WeakKeyDictionary()
        )

    async def run(self) -> None:
        """Follow the swarm's setting until cancelled."""
        try:
            while True:
                part = self._daemon.manager
                if part is None:
                    self._close()
                    await asyncio.sleep(LOOK_S)
                    continue
                try:
                    await self._follow_part(part)
                except Exception as error:
                    # A door that nobody watches must not stay open.
                    log.exception("serving the API over the network failed", reason=str(error))
                    self._close()
                    await asyncio.sleep(LOOK_S)
        finally:
            self._close()

    async def _follow_part(self, part: ManagerPart) -> None:
        with part.store.watch("clusters") as watch:
            while self._daemon.manager is part:
                await self._follow(part.store)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await watch.wait()
                watch.take()

    async def _follow(self, store: Store) -> None:
        cluster = store.cluster
        wanted = self._wanted(cluster) if cluster is not None else None
        if cluster is None or wanted is None:
            self._close()
            return
        if wanted != self._open or self._daemon.now() >= self._renew_at:
            self._stop_listening()
            await self._listen(cluster, wanted)
        self._cut_off(cluster)

    def _wanted(self, cluster: Cluster) -> Setting | None:
        internal = given(cluster.internal, ClusterInternal())
        state = self._daemon.state
        if not internal.api_port or state is None:
            return None
        host, _ = split_address(state.listen_addr)
        advertised, _ = split_address(state.advertise_addr)
        names = (advertised, host, self._daemon.hostname, *_WEB_LOCAL, *internal.api_names)
        return Setting(host, internal.api_port, names, internal.ca_cert)

    async def _listen(self, cluster: Cluster, wanted: Setting) -> None:
        try:
            context = await asyncio.to_thread(self._context, cluster, wanted)
            self._server = await asyncio.get_running_loop().create_server(
                lambda: FirstRequest(self._let_in),
                wanted.host,
                wanted.port,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_S,
                backlog=BACKLOG,
            )
        except (OSError, ssl.SSLError) as error:
            if str(error) != self._said:
                self._said = str(error)
                log.error(  # noqa: TRY400 - one sentence is all
                    "the API can't be served over the network yet",
                    port=wanted.port,
                    reason=str(error),
                )
            return
        self._open = wanted
        self._said = ""
        self._renew_at = self._daemon.now() + LIFETIME / 2
        log.info("the API is served over the network", host=wanted.host, port=wanted.port)

    def _context(self, cluster: Cluster, wanted: Setting) -> ssl.SSLContext:
        """Issue this manager's certificate and make TLS settings of it; runs on a thread."""
        from swarmops.pki.access import issue_api  # noqa: PLC0415 - a worker needs no library
        from swarmops.pki.root import RootCA  # noqa: PLC0415 - the same

        internal = given(cluster.internal, ClusterInternal())
        pem = issue_api(
            RootCA(cert_pem=internal.ca_cert, key_pem=internal.ca_key),
            node_id=self._daemon.state.node_id if self._daemon.state else "",
            cluster_id=cluster.id,
            names=wanted.names,
            now=self._daemon.now(),
            lifetime_s=LIFETIME.total_seconds(),
        )
        path = self._daemon.certificate.folder / CERT_FILE
        write_private(path, pem.encode())
        try:
            return server_context(path, internal.ca_cert)
        finally:
            path.unlink()  # OpenSSL reads keys from files alone; it has it now

    def _let_in(self, transport: asyncio.Transport) -> asyncio.Protocol | None:
        self._inside[transport] = person_identity(transport.get_extra_info("peercert"))
        server = self._runner.server
        return server() if server is not None else None

    def _cut_off(self, cluster: Cluster) -> None:
        """End the connections of those who were let in and no longer are: streams too."""
        now = self._daemon.now()
        for transport, shown in list(self._inside.items()):
            if shown is not None and known_person(cluster, shown, now) is None:
                del self._inside[transport]
                transport.abort()

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._open = None

    def _close(self) -> None:
        """Stop listening and end all connections."""
        self._stop_listening()
        for transport in list(self._inside):
            transport.abort()
        self._inside.clear()


def server_context(cert_file: Path, root_pem: str) -> ssl.SSLContext:
    """Return settings that let in whoever has a certificate for clients of this root."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(cert_file)
    context.load_verify_locations(cadata=root_pem)
    return context
