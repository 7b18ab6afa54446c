"""The secrets and configs of a task as files: which content, where, whose, filled-in templates.

Pure; called by ``work`` when a task is prepared, read by the executors. What is in a file stands in
no ``repr`` and no error.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Literal

import msgspec

from swarmops.errors import InputError
from swarmops.model.base import given
from swarmops.model.secret import Config, Secret
from swarmops.model.service import ContainerSpec, Driver, FileTarget

Kind = Literal["secret", "config"]
Fill = Callable[[str, Mapping[str, Callable[[str], str]]], str]
"""Fills in a template; the functions that it may call, each with one string, come by name."""
SECRETS_DIR = "/run/secrets"
ID_MAX = 2**31 - 1
"""Of users and groups, as Docker bounds them: Linux would have twice as many."""


class Dependencies(msgspec.Struct, frozen=True):
    """The secrets and configs that this node holds, by ID.

    ``registry_auths`` are what registries want to see, by the ID of the task.
    """

    secrets: Mapping[str, Secret] = {}
    configs: Mapping[str, Config] = {}
    registry_auths: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"Dependencies({len(self.secrets)} secrets, {len(self.configs)} configs)"


class TaskFile(msgspec.Struct, frozen=True):
    """One file for the task. ``name`` is as the spec has it: maybe absolute, never with ``..``."""

    kind: Kind
    name: str
    data: bytes
    uid: int = 0
    gid: int = 0
    mode: int = 0o444

    def __repr__(self) -> str:
        return f"TaskFile({self.kind} {self.name!r}, {len(self.data)} bytes)"

    @property
    def container_path(self) -> str:
        """Where the file is in a container, by Docker's rules."""
        return str(PurePosixPath(SECRETS_DIR if self.kind == "secret" else "/", self.name))


class _Part(msgspec.Struct, frozen=True):
    """A reference and what it refers to."""

    kind: Kind
    target: FileTarget
    data: bytes
    template: bool

    def __repr__(self) -> str:
        return f"_Part({self.kind} {self.target.name!r})"


def task_files(
    spec: ContainerSpec, held: Dependencies, environment: Mapping[str, str], fill: Fill
) -> list[TaskFile]:
    """Return the task's files. Raises ``InputError`` for one that is missing or makes no sense."""
    parts = _parts(spec, held)
    by_name = {(part.kind, part.target.name): part for part in parts}

    def content(kind: Kind) -> Callable[[str], str]:
        def of(name: str) -> str:
            if (part := by_name.get((kind, name))) is None:
                raise InputError(f"{kind} not found: {name}")
            return part.data.decode()

        return of

    functions = {
        "secret": content("secret"),
        "config": content("config"),
        "env": lambda name: environment.get(name, ""),
    }
    return [_file(part, lambda text: fill(text, functions)) for part in parts]


def _parts(spec: ContainerSpec, held: Dependencies) -> list[_Part]:
    parts = []
    for secret_ref in given(spec.secrets, []):
        target = given(secret_ref.file, None) or FileTarget(name=secret_ref.secret_name)
        secret = held.secrets.get(secret_ref.secret_id)
        if secret is None:
            raise InputError(f"secret not found: {secret_ref.secret_name or secret_ref.secret_id}")
        spec_ = secret.spec
        parts.append(_part("secret", target, given(spec_.data, ""), spec_.templating))
    for config_ref in given(spec.configs, []):
        file = given(config_ref.file, None)
        if file is None and config_ref.runtime:  # a credential spec, which is no file
            continue
        target = file or FileTarget(name=config_ref.config_name)
        config = held.configs.get(config_ref.config_id)
        if config is None:
            raise InputError(f"config not found: {config_ref.config_name or config_ref.config_id}")
        parts.append(_part("config", target, given(config.spec.data, ""), config.spec.templating))
    return parts


def _part(
    kind: Kind, target: FileTarget, data: str, templating: Driver | msgspec.UnsetType | None
) -> _Part:
    driver = given(given(templating, Driver()).name, "")
    if driver not in {"", "golang"}:
        raise InputError(f'{kind} {target.name}: the template driver "{driver}" is unknown.')
    if not target.name or "\0" in target.name or ".." in PurePosixPath(target.name).parts:
        raise InputError(f"{kind}: {json.dumps(target.name)} is no name for a file.")
    try:
        return _Part(kind, target, base64.b64decode(data), bool(driver))
    except (binascii.Error, ValueError):  # not chained: the cause would show what it saw
        raise InputError(f"{kind} {target.name}: its data is not base64.") from None


def _file(part: _Part, fill: Callable[[str], str]) -> TaskFile:
    target = part.target
    if not (_is_id(target.uid) and _is_id(target.gid)):
        raise InputError(
            f"{part.kind} {target.name}: uid and gid of its file must be numbers up to {ID_MAX}."
        )
    data = part.data
    if part.template:
        try:
            data = fill(data.decode()).encode()
        except (InputError, ValueError):  # not chained: the cause would show the content
            raise InputError(
                f"{part.kind} {target.name}: its template cannot be filled in: use the "
                "placeholders of services, or the functions secret, config and env."
            ) from None
    return TaskFile(
        part.kind, target.name, data, int(target.uid), int(target.gid), target.mode & 0o7777
    )


def _is_id(text: str) -> bool:
    return text.isdecimal() and len(text) <= len(str(ID_MAX)) and int(text) <= ID_MAX
