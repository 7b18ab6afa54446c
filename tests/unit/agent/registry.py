"""A registry of images in this process: it speaks as much of the protocol as pulling needs.

Images are busybox with one file that says which version it is. All of it is only for
those who log in.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.unit.agent.dockerd import busybox

USER, PASSWORD = "ops", "hunter2-of-the-registry"
AUTH = base64.urlsafe_b64encode(
    json.dumps({"username": USER, "password": PASSWORD, "serveraddress": ""}).encode()
).decode()
"""What clients send as X-Registry-Auth."""
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_busybox = cache(busybox)
_LAYER = "application/vnd.docker.image.rootfs.diff.tar"


class Registry(ThreadingHTTPServer):
    """Its images; ``up`` whether it serves them, ``asked`` the manifests that were asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        self.up = True
        self.asked: list[str] = []
        self._blobs: dict[str, bytes] = {}
        self._tags: dict[str, str] = {}
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def address(self) -> str:
        """Host and port, which begin its images' names."""
        return f"127.0.0.1:{self.server_port}"

    def push(self, name: str, version: str) -> str:
        """Let the name, with its tag, mean an image of this version; return its digest."""
        layers = [_busybox(), _version(version)]
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["cat", "/version"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in layers]},
        }
        raw = json.dumps(config).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": self._described(raw, _CONFIG),
            "layers": [self._described(layer, _LAYER) for layer in layers],
        }
        self._tags[name] = self._kept(json.dumps(manifest).encode())
        return self._tags[name]

    def find(self, name: str, reference: str) -> tuple[str, bytes] | None:
        """Return digest and content of a manifest or blob."""
        if reference.startswith("sha256:"):
            digest = reference
        else:
            self.asked.append(f"{name}:{reference}")
            digest = self._tags.get(f"{name}:{reference}", "")
        return (digest, self._blobs[digest]) if digest in self._blobs else None

    def _described(self, data: bytes, kind: str) -> dict[str, Any]:
        return {"mediaType": kind, "size": len(data), "digest": self._kept(data)}

    def _kept(self, data: bytes) -> str:
        self._blobs[_digest(data)] = data
        return _digest(data)


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        """Answer."""
        path, _, reference = self.path.removeprefix("/v2/").rpartition("/")
        name, _, kind = path.rpartition("/")
        if not self.server.up:
            self._answer(503, b"", "text/plain")
        elif not self._knows_the_password():
            self._answer(401, b'{"errors":[{"code":"UNAUTHORIZED"}]}', "application/json")
        elif not name:
            self._answer(200, b"{}", "application/json")
        elif found := self.server.find(name, reference):
            type_ = _MANIFEST if kind == "manifests" else "application/octet-stream"
            self._answer(200, found[1], type_, found[0])
        else:
            self._answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', "application/json")

    do_HEAD = do_GET  # noqa: N815 - the base class calls it so

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _knows_the_password(self) -> bool:
        expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return self.headers.get("Authorization") == f"Basic {expected}"

    def _answer(self, status: int, body: bytes, kind: str, digest: str = "") -> None:
        self.send_response(status)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="registry"')
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def serving() -> Iterator[Registry]:
    """Serve a registry."""
    with Registry() as registry:
        thread = threading.Thread(target=registry.serve_forever, daemon=True)
        thread.start()
        try:
            yield registry
        finally:
            registry.shutdown()
            thread.join()


def _version(text: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo("version")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
